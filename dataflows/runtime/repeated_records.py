"""Compare the records that a restarted service writes again with those in its topics.

After a crash, a service repeats the records since its last snapshot, and readers discard the repeated `seq`. If the
settings or the code have changed since then, the repeated records differ: a new order or a halt would get the `seq` of
an old record, and the readers would discard it. The service must stop instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import Consumer, KafkaException

from dataflows.runtime.log_tail import READ_TIMEOUT_S, read_ranges
from operators.market_data_checks import check_market_data
from operators.stage import TimeSlice
from schemas.errors import InvalidField, Unavailable
from schemas.log_names import LogName
from schemas.records import (
    TOPIC_OF,
    Bar,
    Clock,
    LotMatch,
    Quote,
    Record,
    SequencedRecord,
    Trade,
    has_seq,
    sequence_key,
)
from sinks.cluster import Servers, client_config
from sinks.log_offsets import log_range

EXPLANATIONS = frozenset({"reason", "text", "message", "checks", "file", "line", "source_sha256"})
"""Fields that explain a decision in words, which a release may word differently, and the hashes of source files, which
a changed comment changes.
"""
_FIRST_READS = (1, 500)
"""Numbers of messages to read first from the end of a log. The first read usually finds the snapshot's clock."""

RecordKey = tuple[str, str, int]


class RepeatedRecords:
    """The records that one shard wrote after its snapshot at `passed_ns` (-1: no snapshot). Raises Unavailable."""

    def __init__(self, servers: Servers, prefix: str, service: str, logs: Sequence[LogName], passed_ns: int) -> None:
        self._service, self._last_clock_ns = service, passed_ns
        self._recorded: dict[RecordKey, SequencedRecord] = {}
        options = {"group.id": f"{prefix}repeated-records", "enable.auto.commit": False, "log_level": 0}
        try:
            with closing(Consumer(client_config(servers, options))) as consumer:
                names = [(prefix + topic, partition) for topic, partition in logs]
                for (topic, _), records in _tails(consumer, names, passed_ns):
                    clock_ns = passed_ns
                    for record in records:
                        if type(record) is Clock:
                            clock_ns = record.ts_ns
                            self._last_clock_ns = max(self._last_clock_ns, clock_ns)
                        elif has_seq(record) and _is_accepted(record, clock_ns):
                            key = (topic.removeprefix(prefix), sequence_key(record), record.seq)
                            self._recorded.setdefault(key, record)
        except KafkaException as error:
            raise Unavailable(f"cannot read the topics of {service}: {error.args[0].str()}") from error

    @property
    def pending(self) -> bool:
        """Whether records are still to be repeated."""
        return bool(self._recorded)

    def compare(self, time_slices: Sequence[TimeSlice]) -> None:
        """Compare the next time slices before they are written. Raises Unavailable at the first difference."""
        for ts_ns, records in time_slices:
            for record in records:
                if has_seq(record):
                    key = (TOPIC_OF[type(record)], sequence_key(record), record.seq)
                    recorded = self._recorded.pop(key, None)
                    if recorded is not None and decision_fields(recorded) != decision_fields(record):
                        raise Unavailable(self._difference(recorded, record))
            if ts_ns > self._last_clock_ns and self._recorded:
                raise Unavailable(self._difference(next(iter(self._recorded.values())), None))

    def _difference(self, recorded: Record, repeated: Record | None) -> str:
        now = "is missing" if repeated is None else f"is now {repeated}"
        return (
            f"{self._service} repeats its records since its last snapshot, but one differs: {recorded} {now}; the "
            "settings or the code have changed since the crash, so start once with the previous ones"
        )


def _is_accepted(record: SequencedRecord, clock_ns: int) -> bool:
    """Whether readers use a record. They reject late and invalid market data, which another program may have written
    (`operators/alignment.py`).
    """
    if not isinstance(record, (Bar, Quote, Trade)):
        return True
    if record.ts_ns <= clock_ns and type(record) is not Trade:
        return False
    try:
        check_market_data(record)
    except InvalidField:
        return False
    return True


def decision_fields(record: Any) -> tuple[Any, ...]:
    """Return the type and the fields of a record, without those that explain it in words.

    The strategy of a closed lot is left out too: a release that did not record it may have written the record.
    """
    values = zip(record._fields, record, strict=True)
    left_out = EXPLANATIONS | {"strategy"} if type(record) is LotMatch else EXPLANATIONS
    return (type(record), *(value for name, value in values if name not in left_out))


def _tails(consumer: Consumer, logs: Sequence[LogName], passed_ns: int) -> Iterator[tuple[LogName, list[Any]]]:
    """Yield the records and clocks of each log after its clock `passed_ns`, and all of a new log."""
    remaining = {log: log_range(consumer, *log, timeout_s=READ_TIMEOUT_S) for log in logs}
    for count in (*_FIRST_READS, None):
        ranges = {
            log: (first if count is None else max(first, end - count), end) for log, (first, end) in remaining.items()
        }
        for log, numbered in read_ranges(consumer, ranges).items():
            records = [record for _, record in numbered]
            passed = [n for n, record in enumerate(records) if type(record) is Clock and record.ts_ns <= passed_ns]
            if passed or ranges[log][0] == remaining[log][0]:
                yield log, records[passed[-1] + 1 :] if passed else records
                del remaining[log]


SlicesOf = Callable[[Any], Sequence[TimeSlice]]
"""Returns the time slices in an item of a sink."""


class _ComparingPartition(StatefulSinkPartition[Any, Any]):
    def __init__(self, inner: Any, read_repeated: Callable[[], RepeatedRecords | None], slices_of: SlicesOf) -> None:
        self._inner, self._read_repeated, self._slices_of = inner, read_repeated, slices_of
        self._repeated: RepeatedRecords | None = None
        self._started = False

    def write_batch(self, values: list[Any]) -> None:
        if not self._started:
            self._started, self._repeated = True, self._read_repeated()
        if self._repeated is not None:
            for value in values:
                self._repeated.compare(self._slices_of(value))
            if not self._repeated.pending:
                self._repeated = None
        self._inner.write_batch(values)

    def snapshot(self) -> Any:
        return self._inner.snapshot()

    def close(self) -> None:
        self._inner.close()


class ComparingSink(FixedPartitionedSink[Any, Any]):
    """Wraps the Kafka sink of a service: before it writes, repeated records are compared with the recorded ones.

    `read_repeated(shard)` is called at the first batch of a shard; None means that nothing can be compared. `slices_of`
    returns the time slices of an item; by default, an item is a list of them.
    """

    def __init__(
        self,
        inner: Any,
        read_repeated: Callable[[str], RepeatedRecords | None],
        slices_of: SlicesOf = lambda item: item,
    ) -> None:
        self._inner, self._read_repeated, self._slices_of = inner, read_repeated, slices_of

    def list_parts(self) -> list[str]:
        parts: list[str] = self._inner.list_parts()
        return parts

    def part_fn(self, item_key: str) -> int:
        index: int = self._inner.part_fn(item_key)
        return index

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> _ComparingPartition:
        inner = self._inner.build_part(step_id, for_part, resume_state)
        return _ComparingPartition(inner, lambda: self._read_repeated(for_part), self._slices_of)
