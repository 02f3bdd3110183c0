"""Where two runs part: the first record that is not the same, with its fields side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from dataflows.replay.recording import DERIVED
from operators.explain.lineage import causes_of, name_of
from schemas.records import BY_SYMBOL, TOPIC_OF, Record

_RANK: dict[type, int] = {kind: DERIVED.index(topic) for kind, topic in TOPIC_OF.items() if topic in DERIVED}


class FieldDifference(NamedTuple):
    field: str
    recorded: Any
    replayed: Any


class Difference(NamedTuple):
    """The first record that differs. `recorded` or `replayed` is None where that run has no such record; `instead` is
    then what the run without it made of the same cause, such as a refusal in the place of an order. Both are None where
    one run has a tick (a clock) that the other lacks, which `missing_tick` then says.
    """

    ts_ns: int
    topic: str
    recorded: Record | None
    replayed: Record | None
    fields: tuple[FieldDifference, ...] = ()
    missing_tick: str = ""
    instead: Record | None = None

    @property
    def name(self) -> str:
        record = self.recorded if self.recorded is not None else self.replayed
        return "" if record is None else name_of(record)

    @property
    def causes(self) -> list[str]:
        """Ids of what the record was made from: of the recorded one, else of the replayed one."""
        record = self.recorded if self.recorded is not None else self.replayed
        return [] if record is None else causes_of(record)


def derived(records: Iterable[Record]) -> list[Record]:
    """The records that stages made, in order of (topic, symbol, seq): the same for any number of shards."""
    return sorted((record for record in records if type(record) in _RANK), key=_place)


def first_difference(ts_ns: int, recorded: Sequence[Record], replayed: Sequence[Record]) -> Difference | None:
    """Compare one tick of both runs, each as `derived` gives it; None where they are the same."""
    if recorded == replayed:
        return None
    for was, now in zip_longest(recorded, replayed):
        if was == now:
            continue
        # Where the two are not of one place, the earlier of them has no counterpart.
        if now is None or (was is not None and _place(was) < _place(now)):
            return Difference(ts_ns, TOPIC_OF[type(was)], was, None, instead=_of_same_cause(was, replayed))
        if was is None or _place(now) < _place(was):
            return Difference(ts_ns, TOPIC_OF[type(now)], None, now, instead=_of_same_cause(now, recorded))
        fields = _fields(was, now)
        if fields:
            return Difference(ts_ns, TOPIC_OF[type(was)], was, now, fields)
    return None


def _of_same_cause(record: Record, others: Sequence[Record]) -> Record | None:
    causes = causes_of(record)
    return next((other for other in others if type(other) is not type(record) and causes == causes_of(other)), None)


def _fields(was: Record, now: Record) -> tuple[FieldDifference, ...]:
    if type(was) is not type(now):
        return (FieldDifference("type", type(was).__name__, type(now).__name__),)
    values = zip(was._fields, was, now, strict=True)
    # repr as well: a NaN is not equal to itself, and is still the same value.
    return tuple(FieldDifference(name, a, b) for name, a, b in values if a != b and repr(a) != repr(b))


def _place(record: Any) -> tuple[int, str, int]:
    kind = type(record)
    return _RANK[kind], record.symbol if kind in BY_SYMBOL else "", record.seq
