"""Which configurations were in force when the decisions behind a record were made.

A configuration takes effect in a time slice of its log, which is not the sender's wall clock in the record. The time
slice of a decision is the record's own time. The last configuration whose time slice is not later was in force.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from operators.explain.cause_tree import CauseNode, RecordPosition, walk
from schemas.errors import Unavailable
from schemas.records import (
    Configuration,
    Execution,
    InternalCross,
    Order,
    OrderProposal,
    OrderRefusal,
    Signal,
    StrategyAction,
)

DECISIONS = (Signal, StrategyAction, OrderProposal, Order, OrderRefusal, InternalCross, Execution)


class ConfigurationLookup(Protocol):
    """Finds the stored configurations."""

    def configuration_ids(self) -> list[str]:
        """Return the ids of all configurations in the order of their numbers."""

    def configuration(self, configuration_id: str) -> Configuration | None: ...


class DecidingConfiguration(NamedTuple):
    """A configuration without its settings and source code, its first time slice, and the decisions made under it."""

    configuration: Configuration
    since_ns: int
    record_ids: tuple[str, ...]


def without_contents(configuration: Configuration) -> Configuration:
    """Return the record without the settings, the source code and the keys, which are long."""
    return configuration._replace(settings="", sources={}, signers={})


def configurations_of(
    root: CauseNode,
    lookup: ConfigurationLookup,
    find_position: Callable[[Configuration], RecordPosition | None],
    is_valid: Callable[[Configuration], bool],
) -> list[DecidingConfiguration]:
    """Return the configurations under which the decisions in a tree of causes were made, in the order of the log.

    Decisions from before the first configuration are left out. An invalid configuration was never in force. Raises
    Unavailable if a stored configuration is not in the log.
    """
    slices: dict[int, dict[str, None]] = {}
    for node in walk(root):
        if isinstance(node.record, DECISIONS):
            slices.setdefault(node.record.ts_ns, {})[node.record_id] = None
    history = _History(lookup, find_position, is_valid)
    found: dict[str, DecidingConfiguration] = {}
    for ts_ns in sorted(slices):
        one = history.in_force_at(ts_ns)
        if one is not None:
            configuration, since_ns = one
            earlier = found.get(configuration.configuration_id)
            record_ids = (*(earlier.record_ids if earlier is not None else ()), *slices[ts_ns])
            found[configuration.configuration_id] = DecidingConfiguration(configuration, since_ns, record_ids)
    return list(found.values())


class _History:
    """Reads only the configurations that a bisection over their time slices needs."""

    def __init__(self, lookup: ConfigurationLookup, find_position: Any, is_valid: Any) -> None:
        self._lookup, self._find_position, self._is_valid = lookup, find_position, is_valid
        self._ids: Sequence[str] = lookup.configuration_ids()
        self._read: dict[int, tuple[Configuration, bool, int | None]] = {}

    def in_force_at(self, ts_ns: int) -> tuple[Configuration, int] | None:
        low, high = 0, len(self._ids)
        while low < high:
            middle = (low + high) // 2
            _, _, since_ns = self._at(middle)
            if since_ns is not None and since_ns <= ts_ns:
                low = middle + 1
            else:
                high = middle
        for index in range(low - 1, -1, -1):
            configuration, is_valid, since_ns = self._at(index)
            if is_valid and since_ns is not None:
                return configuration, since_ns
        return None

    def _at(self, index: int) -> tuple[Configuration, bool, int | None]:
        """Return a configuration, whether it is valid, and its time slice; None while no clock follows it."""
        if index not in self._read:
            configuration = self._lookup.configuration(self._ids[index])
            position = None if configuration is None else self._find_position(configuration)
            if configuration is None or position is None:
                raise Unavailable(f"{self._ids[index]} is not in the log")
            is_valid = self._is_valid(configuration)
            self._read[index] = (without_contents(configuration), is_valid, position.event_ns)
        return self._read[index]
