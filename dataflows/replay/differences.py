"""Find the first difference between two runs: the first record that differs, with its fields side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from dataflows.replay.recording import DERIVED_TOPICS
from operators.explain.record_ids import cause_ids_of, record_id_of
from schemas.records import BY_SYMBOL, TOPIC_OF, Record
from schemas.records.flat import to_flat_dict
from schemas.records.prose import comparable

_TOPIC_RANK: dict[type, int] = {
    kind: DERIVED_TOPICS.index(topic) for kind, topic in TOPIC_OF.items() if topic in DERIVED_TOPICS
}


class FieldDifference(NamedTuple):
    field: str
    recorded: Any
    replayed: Any


class Difference(NamedTuple):
    """The first record that differs.

    `recorded` or `replayed` is None if that run has no such record. `instead` is then the record that this run made
    from the same cause, such as a refusal in place of an order. Both are None if one run lacks a whole time slice;
    `missing_tick` then says which. `state` names the first difference from the state in a checkpoint.
    """

    ts_ns: int
    topic: str
    recorded: Record | None
    replayed: Record | None
    fields: tuple[FieldDifference, ...] = ()
    missing_tick: str = ""
    state: str = ""
    instead: Record | None = None

    @property
    def name(self) -> str:
        record = self.recorded if self.recorded is not None else self.replayed
        return "" if record is None else record_id_of(record)

    @property
    def place(self) -> str:
        """Where the runs differ, such as `orders ord-7`."""
        if self.missing_tick:
            return f"a time slice that is {self.missing_tick}"
        return self.state or f"{self.topic} {self.name}"

    @property
    def causes(self) -> list[str]:
        """Ids of the records from which the recorded record, or else the replayed one, was made."""
        record = self.recorded if self.recorded is not None else self.replayed
        return [] if record is None else cause_ids_of(record)


def derived_records(records: Iterable[Record]) -> list[Record]:
    """Return the records that stages made, ordered by (topic, symbol, seq), for any number of shards."""
    return sorted((record for record in records if type(record) in _TOPIC_RANK), key=_sort_key)


def first_difference(ts_ns: int, recorded: Sequence[Record], replayed: Sequence[Record]) -> Difference | None:
    """Compare one time slice of both runs, each as returned by `derived_records`. Return None if they are equal.

    Prose is not compared: another release may word it differently.
    """
    if recorded == replayed:
        return None
    for recorded_record, replayed_record in zip_longest(recorded, replayed):
        if recorded_record == replayed_record:
            continue
        # If the two have different sort keys, the earlier one has no counterpart.
        if replayed_record is None or (
            recorded_record is not None and _sort_key(recorded_record) < _sort_key(replayed_record)
        ):
            return Difference(
                ts_ns=ts_ns,
                topic=TOPIC_OF[type(recorded_record)],
                recorded=recorded_record,
                replayed=None,
                instead=_record_of_same_cause(recorded_record, replayed),
            )
        if recorded_record is None or _sort_key(replayed_record) < _sort_key(recorded_record):
            return Difference(
                ts_ns=ts_ns,
                topic=TOPIC_OF[type(replayed_record)],
                recorded=None,
                replayed=replayed_record,
                instead=_record_of_same_cause(replayed_record, recorded),
            )
        fields = _field_differences(recorded_record, replayed_record)
        if fields:
            return Difference(
                ts_ns=ts_ns,
                topic=TOPIC_OF[type(recorded_record)],
                recorded=recorded_record,
                replayed=replayed_record,
                fields=fields,
            )
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
    # Compare repr as well: NaN does not equal NaN, but counts as the same value here.
    comparable_recorded, comparable_replayed = to_flat_dict(comparable(recorded)), to_flat_dict(comparable(replayed))
    recorded_fields, replayed_fields = to_flat_dict(recorded), to_flat_dict(replayed)
    return tuple(
        FieldDifference(name, recorded_fields[name], replayed_fields[name])
        for name, value in comparable_recorded.items()
        if value != comparable_replayed[name] and repr(value) != repr(comparable_replayed[name])
    )


def _sort_key(record: Any) -> tuple[int, str, int]:
    record_type = type(record)
    return _TOPIC_RANK[record_type], record.symbol if record_type in BY_SYMBOL else "", record.seq
