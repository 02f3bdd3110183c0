"""Where two runs part: the first record that is not the same, with its fields side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from dataflows.replay.recording import DERIVED_TOPICS
from operators.explain.lineage import cause_ids_of, record_id_of
from schemas.records import BY_SYMBOL, TOPIC_OF, Record

_TOPIC_RANK: dict[type, int] = {
    kind: DERIVED_TOPICS.index(topic) for kind, topic in TOPIC_OF.items() if topic in DERIVED_TOPICS
}


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
        return "" if record is None else record_id_of(record)

    @property
    def causes(self) -> list[str]:
        """Ids of what the record was made from: of the recorded one, else of the replayed one."""
        record = self.recorded if self.recorded is not None else self.replayed
        return [] if record is None else cause_ids_of(record)


def derived_records(records: Iterable[Record]) -> list[Record]:
    """The records that stages made, in order of (topic, symbol, seq): the same for any number of shards."""
    return sorted((record for record in records if type(record) in _TOPIC_RANK), key=_sort_key)


def first_difference(ts_ns: int, recorded: Sequence[Record], replayed: Sequence[Record]) -> Difference | None:
    """Compare one tick of both runs, each as `derived_records` gives it; None where they are the same."""
    if recorded == replayed:
        return None
    for recorded_record, replayed_record in zip_longest(recorded, replayed):
        if recorded_record == replayed_record:
            continue
        # Where the two are not of one place, the earlier of them has no counterpart.
        if replayed_record is None or (
            recorded_record is not None and _sort_key(recorded_record) < _sort_key(replayed_record)
        ):
            return Difference(
                ts_ns,
                TOPIC_OF[type(recorded_record)],
                recorded_record,
                None,
                instead=_record_of_same_cause(recorded_record, replayed),
            )
        if recorded_record is None or _sort_key(replayed_record) < _sort_key(recorded_record):
            return Difference(
                ts_ns,
                TOPIC_OF[type(replayed_record)],
                None,
                replayed_record,
                instead=_record_of_same_cause(replayed_record, recorded),
            )
        fields = _field_differences(recorded_record, replayed_record)
        if fields:
            return Difference(ts_ns, TOPIC_OF[type(recorded_record)], recorded_record, replayed_record, fields)
    return None


def _record_of_same_cause(record: Record, candidates: Sequence[Record]) -> Record | None:
    causes = cause_ids_of(record)
    return next(
        (
            candidate
            for candidate in candidates
            if type(candidate) is not type(record) and causes == cause_ids_of(candidate)
        ),
        None,
    )


def _field_differences(recorded: Record, replayed: Record) -> tuple[FieldDifference, ...]:
    if type(recorded) is not type(replayed):
        return (FieldDifference("type", type(recorded).__name__, type(replayed).__name__),)
    values = zip(recorded._fields, recorded, replayed, strict=True)
    # repr as well: a NaN is not equal to itself, and is still the same value.
    return tuple(
        FieldDifference(name, recorded_value, replayed_value)
        for name, recorded_value, replayed_value in values
        if recorded_value != replayed_value and repr(recorded_value) != repr(replayed_value)
    )


def _sort_key(record: Any) -> tuple[int, str, int]:
    record_type = type(record)
    return _TOPIC_RANK[record_type], record.symbol if record_type in BY_SYMBOL else "", record.seq
