"""One hash over all decisions of a run: orders, fences, executions, cash transfers and the ledger.

A suspension for an exceeded time limit is part of the hash too, because it depends on the clock of the run.

Two runs with the same hash sent the same orders at the same event times, got the same fills, and ended with the same
lot matches, lots, positions and cash. Batch size, process count, arrival order and restarts do not change the hash.
Sentences for a reader (`schemas/records/prose.py`) are left out, so that a release may reword them. So is the strategy
of a closed lot, which follows from the orders, and which earlier releases did not record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any

from operators.handler_limit import HANDLER_TIME_LIMIT
from schemas.records import (
    SUSPENDED,
    CashTransfer,
    Execution,
    Lot,
    LotMatch,
    Order,
    Position,
    RiskFence,
    StrategyAction,
    StrategySuspension,
    Valuation,
)
from schemas.records.flat import field_names, to_flat
from schemas.records.prose import PROSE_FIELDS, without_prose

VERSION = 3
"""Version 1 also covered `Execution.text` and `RiskFence.reason`: a reworded sentence changed the hash. Version 2 did
not cover suspensions for an exceeded time limit.
"""
_HASHED_RECORDS: tuple[type, ...] = (Order, RiskFence, Execution, LotMatch, CashTransfer)
"""A type without a record adds nothing to the hash, so that a new type at the end changes no hash of earlier runs."""
_EXCLUDED_TYPES = frozenset({list, tuple, dict})
_DIGITS_MAX = 28
"""Digits to which `Decimal.normalize` rounds a number."""
_PROSE_INDEXES = {
    kind: tuple(field_names(kind).index(name) for name in PROSE_FIELDS[kind])
    for kind in _HASHED_RECORDS
    if kind in PROSE_FIELDS
}
"""Positions of the texts among the flat fields of a record."""
_FIELDS_HASHED = {LotMatch: field_names(LotMatch).index("strategy")}
"""Number of the first flat fields that are hashed, of types whose last fields are left out."""


class DecisionHash:
    """Adds records one by one, in the order in which their stages wrote them, each record once.

    For orders, fences, executions, matches and transfers the whole history counts: each type is a chain of SHA-256 over
    (previous digest, record). For positions, lots and cash only the last state counts, so memory grows with the number
    of positions and open lots, not with the length of the run.
    """

    def __init__(self) -> None:
        self._chains = dict.fromkeys(_HASHED_RECORDS, b"")
        # Records, or their canonical lines after a restore. Most are replaced before the hash is computed.
        self._positions: dict[str, Any] = {}
        self._lots: dict[str, Any] = {}
        self._cash: Any = None
        self._timeouts: list[str] = []  # suspensions for an exceeded time limit

    def add(self, record: Any) -> None:
        """Add one record. Types that are not decisions are ignored."""
        kind = type(record)
        if kind in self._chains:
            line = canonical_line(record, _PROSE_INDEXES.get(kind, ()), _FIELDS_HASHED.get(kind))
            self._chains[kind] = sha256(self._chains[kind] + line.encode()).digest()
        elif kind is Valuation:
            self._cash = record.cash
        elif kind is Position:
            self._positions[record.symbol] = record
        elif kind is Lot:
            if record.quantity:
                self._lots[record.lot_id] = record
            else:
                self._lots.pop(record.lot_id, None)
        elif kind is StrategyAction or kind is StrategySuspension:
            self._add_suspension(record)

    def _add_suspension(self, record: StrategyAction | StrategySuspension) -> None:
        if isinstance(record, StrategyAction):
            is_timeout = record.kind == SUSPENDED and record.arguments.get("error_type") == HANDLER_TIME_LIMIT
        else:
            is_timeout = record.state == SUSPENDED and record.error_type == HANDLER_TIME_LIMIT
        if is_timeout:
            self._timeouts.append(canonical_line(without_prose(record)))

    def hexdigest(self) -> str:
        """Return the hash as 64 hexadecimal digits."""
        total_hash = sha256(b"".join(self._chains[kind] for kind in _HASHED_RECORDS))
        for latest in (self._positions, self._lots):
            for key in sorted(latest):
                total_hash.update(_as_line(latest[key]).encode())
        total_hash.update(canonical_text(self._cash).encode())
        for line in sorted(self._timeouts):  # those of view strategies come from several shards
            total_hash.update(line.encode())
        return total_hash.hexdigest()

    def snapshot(self) -> Any:
        """Return the state as plain tuples and dicts."""
        chains = {kind.__name__: digest for kind, digest in self._chains.items()}
        positions = {symbol: _as_line(record) for symbol, record in self._positions.items()}
        lots = {lot_id: _as_line(record) for lot_id, record in self._lots.items()}
        return (VERSION, chains, positions, lots, canonical_text(self._cash), list(self._timeouts))

    def restore(self, snapshot: Any) -> None:
        """Continue from a `snapshot()`. A chain of version 1 cannot be continued: it has hashed the prose."""
        version, chains, positions, lots, self._cash, *timeouts = snapshot
        assert version in (2, VERSION), (
            f"decision hash state has version {version}, expected {VERSION}; run from the start"
        )
        self._timeouts = list(timeouts[0]) if timeouts else []
        self._chains = {kind: chains.get(kind.__name__, b"") for kind in _HASHED_RECORDS}
        self._positions, self._lots = dict(positions), dict(lots)


def decision_hash(records: Iterable[Any]) -> str:
    """Return the hash of records that were read from topics or tables, each type in `seq` order."""
    decisions = DecisionHash()
    for record in records:
        decisions.add(record)
    return decisions.hexdigest()


def canonical_line(record: Any, prose_indexes: Sequence[int] = (), fields: int | None = None) -> str:
    """Return a record as one canonical line. Lists inside a record are left out: they explain a decision.

    The flat fields at `prose_indexes`, which contain texts, are empty. `fields` limits the line to the first ones.

    >>> canonical_line(RiskFence(1, 60, 2, "HALTED", "test", "c1"))
    '1|60|2|HALTED|test|c1\\n'
    """
    values = to_flat(record)[:fields]
    if prose_indexes:
        blanked = list(values)
        for index in prose_indexes:
            blanked[index] = ""
        values = tuple(blanked)
    parts: list[str] = []
    for value in values:
        kind = type(value)
        if kind is str:
            parts.append(value)
        elif kind is int:
            parts.append(str(value))
        elif value is None:
            parts.append("-")
        elif kind not in _EXCLUDED_TYPES:
            parts.append(canonical_text(value))
    return "|".join(parts) + "\n"


def _as_line(record: Any) -> str:
    return record if type(record) is str else canonical_line(record)


def canonical_text(value: Any) -> str:
    """Return the same text for equal values, whatever trailing zeros a database or codec added.

    >>> canonical_text(Decimal("1.500000000")), canonical_text(Decimal("100")), canonical_text(None)
    ('1.5', '100', '-')
    """
    if isinstance(value, Decimal):
        if not value:
            return "0"
        text = str(value)
        if "E" in text or len(text) > _DIGITS_MAX:
            return f"{value.normalize():f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return "-" if value is None else str(value)
