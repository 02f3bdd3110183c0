"""Merge several logs by time, independent of arrival order, so that a run and its replay process the same time slices.

A log contains records and clocks. `Clock(t)` means that all records of this log up to `t` are before it. A *time slice*
is complete when each input has reached its clock. Its content depends only on the logs:

* An ordinary input contributes the records between its previous clock and its clock at `t`.
* A *feedback* input closes a loop, for example the orders that the venue fills. It contributes the records decided in
  earlier time slices, and the reader waits for it only up to the last clock that the reader has passed on. Without this
  lag, the loop would deadlock. Without the wait, the result would depend on scheduling.
* Each clock creates its own time slice. Clocks are never combined.

Duplicates are discarded: a duplicate record has a `seq` that its key has already reached, a duplicate clock has a time
that has already passed. A record with a new `seq` and a time before its log's clock is *late*. Late market data becomes
a `LateRecord`, because its minute is already complete. Other late records are processed at the clock. The time of an
external record (a command, a headline, a broker's report) is its position in the log, so it is processed at the first
clock after it.

The in-band clocks follow Li et al., "Semantics and Evaluation Techniques for Window Aggregates in Data Streams" (SIGMOD
2005), section 3. Time-aligned reading is the idea of Kafka Streams' KIP-353, here controlled by the data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, NamedTuple

from operators.stage import TimeSlice
from schemas.codec import SCHEMA_IDS, encode
from schemas.errors import InvalidField
from schemas.records import BY_SYMBOL, EXTERNAL_RECORDS, TOPIC_OF, Bar, Clock, DeadLetter, LateRecord, Quote, Record

VERSION = 1
RejectedMessage = DeadLetter | LateRecord
_SYMBOL_TOPICS = frozenset(TOPIC_OF[record_type] for record_type in BY_SYMBOL)
_MARKET_DATA_TOPICS = frozenset({"market-bars", "market-quotes"})
_UNSEQUENCED_TOPICS = frozenset(TOPIC_OF[record_type] for record_type in EXTERNAL_RECORDS)


class Log(NamedTuple):
    """One partition of a topic as an input of a stage. `rank` orders the inputs in a time slice, lowest first."""

    topic: str
    partition: int
    rank: int
    feedback: bool = False


class AlignmentCounts(NamedTuple):
    """Numbers of records that a reader has processed."""

    accepted: int
    duplicates: int
    late: int
    gaps: int
    dead_letters: int


class _Segment(NamedTuple):
    ts_ns: int
    records: list[Record]
    dead_letters: list[RejectedMessage]
    next_offset: int
    at_clock: bool  # whether every record has the time of the clock


class _Cursor:
    """The position in one log: what was fed, and what was passed on in time slices."""

    __slots__ = (
        "buffered",
        "by_symbol",
        "dead_letters",
        "fed_clock_ns",
        "fed_seqs",
        "log",
        "market_data",
        "next_offset",
        "open_records",
        "passed_clock_ns",
        "passed_seqs",
        "segments",
        "sequenced",
    )

    def __init__(self, log: Log) -> None:
        self.log = log
        self.by_symbol = log.topic in _SYMBOL_TOPICS
        self.market_data = log.topic in _MARKET_DATA_TOPICS
        self.sequenced = log.topic not in _UNSEQUENCED_TOPICS
        self.fed_clock_ns = self.passed_clock_ns = -1  # last clock fed, and last clock passed on
        self.next_offset = 0  # first message that is in no passed time slice
        self.fed_seqs: dict[str, int] = {}  # key -> last seq fed
        self.passed_seqs: dict[str, int] = {}  # key -> last seq passed on
        self.segments: deque[_Segment] = deque()
        self.open_records: list[Record] = []
        self.dead_letters: list[RejectedMessage] = []
        self.buffered = 0

    def close_segment(self, clock: Clock, offset: int) -> None:
        ts_ns, records = clock.ts_ns, self.open_records
        at_clock = all(record.ts_ns == ts_ns for record in records)
        self.segments.append(_Segment(ts_ns, records, self.dead_letters, offset + 1, at_clock))
        self.buffered += len(records) + 1
        self.fed_clock_ns, self.open_records, self.dead_letters = ts_ns, [], []

    def pop_segment(self) -> _Segment:
        segment = self.segments.popleft()
        self.passed_clock_ns, self.next_offset = segment.ts_ns, segment.next_offset
        self.buffered -= len(segment.records) + 1
        passed_seqs = self.passed_seqs
        if self.by_symbol:
            for record in segment.records:
                passed_seqs[record.symbol] = record.seq  # type: ignore[union-attr]
        elif segment.records and self.sequenced:
            passed_seqs[""] = segment.records[-1].seq  # type: ignore[union-attr]
        return segment


class AlignedLogs:
    """Merge several logs into time slices. Feed each log in its own order; the logs may arrive in any order.

    `stage` is the name of the reader in dead letters. `snapshot` is the snapshot of an earlier reader of the same logs,
    or None.
    """

    def __init__(self, stage: str, logs: Sequence[Log], snapshot: Any = None) -> None:
        self._stage = stage
        self._cursors = {(log.topic, log.partition): _Cursor(log) for log in sorted(logs, key=lambda log: log.rank)}
        self._main = [cursor for cursor in self._cursors.values() if not cursor.log.feedback]
        self._feedback = [cursor for cursor in self._cursors.values() if cursor.log.feedback]
        assert self._main, f"{stage} requires an input that is not a feedback input"
        self.passed_ns = -1
        self._accepted = self._duplicates = self._late = self._gaps = self._dead_letters = 0
        if snapshot is not None:
            self._restore(snapshot)

    # -- feeding

    def feed(self, topic: str, partition: int, messages: Iterable[tuple[int, Record | Clock]]) -> None:
        """Add messages `(offset, record)` of one log, in log order. A DeadLetter replaces a malformed message."""
        cursor = self._cursors[topic, partition]
        fed_seqs, by_symbol, open_records = cursor.fed_seqs, cursor.by_symbol, cursor.open_records
        for offset, record in messages:
            if type(record) is Clock:
                if record.ts_ns > cursor.fed_clock_ns:
                    cursor.close_segment(record, offset)
                    open_records = cursor.open_records
                continue
            if type(record) is DeadLetter:
                self._dead_letters += 1
                cursor.dead_letters.append(record._replace(ts_ns=max(cursor.fed_clock_ns, 0)))
                continue
            if not cursor.sequenced:
                open_records.append(record)  # type: ignore[arg-type]
                continue
            key = record.symbol if by_symbol else ""  # type: ignore[union-attr]
            last = fed_seqs.get(key, 0)
            if record.seq <= last:  # type: ignore[union-attr]
                self._duplicates += 1
                continue
            if cursor.market_data and self._reject_market_data(cursor, offset, record):  # type: ignore[arg-type]
                continue
            if record.seq != last + 1 and last:  # type: ignore[union-attr]
                self._gaps += 1
            fed_seqs[key] = record.seq  # type: ignore[union-attr]
            open_records.append(record)  # type: ignore[arg-type]

    def _reject_market_data(self, cursor: _Cursor, offset: int, record: Bar | Quote) -> bool:
        """Whether market data is late or invalid. If so, add it to the dead letters at the end of the time slice."""
        log, clock_ns = cursor.log, max(cursor.fed_clock_ns, 0)
        origin = (log.topic, log.partition, offset, self._stage, clock_ns)
        if record.ts_ns <= cursor.fed_clock_ns:
            self._late += 1
            reason = f"late: field ts_ns must be > {cursor.fed_clock_ns}, the clock of the log, found {record.ts_ns}"
            raw, schema_id = encode(record), SCHEMA_IDS[type(record)]
            cursor.dead_letters.append(LateRecord(*origin, record.ts_ns, reason, schema_id, raw))
            return True
        try:
            check_bar(record) if type(record) is Bar else check_quote(record)  # type: ignore[arg-type]
        except InvalidField as error:
            self._dead_letters += 1
            cursor.dead_letters.append(DeadLetter(*origin, str(error), None, repr(record).encode()))
            return True
        return False

    def buffered(self, topic: str, partition: int) -> int:
        """Number of records and clocks of one log that wait for the other logs."""
        return self._cursors[topic, partition].buffered

    def awaited_logs(self) -> list[tuple[str, int]]:
        """The logs whose next clock the next time slice requires; empty if a time slice is complete."""
        awaited = [cursor for cursor in self._main if not cursor.segments]
        awaited += [cursor for cursor in self._feedback if cursor.fed_clock_ns < self.passed_ns]
        return [(cursor.log.topic, cursor.log.partition) for cursor in awaited]

    # -- time slices

    def take_slices(self, records_max: int = 2000) -> list[TimeSlice]:
        """Return the complete time slices, until they contain `records_max` records or more."""
        out: list[TimeSlice] = []
        records_left = records_max
        while records_left > 0 and (time_slice := self._next_slice()) is not None:
            records_left -= len(time_slice.records) + 1
            out.append(time_slice)
        return out

    def ready(self) -> bool:
        """Whether a time slice is complete."""
        for cursor in self._main:
            if not cursor.segments:
                return False
        return all(cursor.fed_clock_ns >= self.passed_ns for cursor in self._feedback)

    def _next_slice(self) -> TimeSlice | None:
        if not self.ready():
            return None
        ts_ns = min(cursor.segments[0].ts_ns for cursor in self._main)
        segments: list[tuple[_Cursor, _Segment]] = []
        for cursor in self._cursors.values():
            up_to_ns = self.passed_ns if cursor.log.feedback else ts_ns
            while cursor.segments and cursor.segments[0].ts_ns <= up_to_ns:
                segments.append((cursor, cursor.pop_segment()))
        time_slice = TimeSlice(ts_ns, self._merge(segments, ts_ns))
        self.passed_ns = ts_ns
        return time_slice

    def _merge(self, segments: list[tuple[_Cursor, _Segment]], ts_ns: int) -> list[Record]:
        records: list[Record] = []
        dead_letters: list[RejectedMessage] = []
        by_rank: dict[int, list[list[Record]]] = {}
        for cursor, segment in segments:
            dead_letters += segment.dead_letters
            if segment.records:
                by_rank.setdefault(cursor.log.rank, []).append(segment.records)
        for rank in sorted(by_rank):
            batches = by_rank[rank]
            if len(batches) == 1:
                records += batches[0]
            else:
                # Sorting by symbol makes the order independent of how many partitions the symbols are spread over.
                merged = [record for batch in batches for record in batch]
                merged.sort(key=_time_symbol_seq)
                records += merged
        if not all(segment.at_clock or cursor.log.feedback or not cursor.sequenced for cursor, segment in segments):
            records = self._sort_by_time(segments, records, ts_ns)
        self._accepted += len(records)
        return [*records, *dead_letters] if dead_letters else records

    def _sort_by_time(
        self, segments: list[tuple[_Cursor, _Segment]], records: list[Record], ts_ns: int
    ) -> list[Record]:
        """Sort by time. The sort is stable, so records with equal times stay in rank order.

        Feedback records belong to earlier time slices and stay first.
        """
        feedback_ids = {id(r) for cursor, segment in segments if cursor.log.feedback for r in segment.records}
        unsequenced_ids = {id(r) for cursor, segment in segments if not cursor.sequenced for r in segment.records}

        def effective_ns(record: Record) -> int:
            if id(record) in feedback_ids:
                return self.passed_ns
            return ts_ns if id(record) in unsequenced_ids else max(record.ts_ns, self.passed_ns + 1)

        return sorted(records, key=effective_ns)

    # -- state

    @property
    def counts(self) -> AlignmentCounts:
        return AlignmentCounts(self._accepted, self._duplicates, self._late, self._gaps, self._dead_letters)

    def next_offsets(self) -> dict[tuple[str, int], int]:
        """Return, for each log, the first message that is in no time slice yet. A restart continues there."""
        return {name: cursor.next_offset for name, cursor in self._cursors.items()}

    def snapshot(self) -> Any:
        """Return the state after the last time slice. Messages fed after it are read again."""
        logs = {
            f"{topic}/{partition}": (cursor.next_offset, cursor.passed_clock_ns, dict(cursor.passed_seqs))
            for (topic, partition), cursor in self._cursors.items()
        }
        return (VERSION, self.passed_ns, logs)

    def _restore(self, snapshot: Any) -> None:
        version, self.passed_ns, logs, *_ = snapshot
        assert version == VERSION, f"reader snapshot: version {version}, expected {VERSION}"
        for (topic, partition), cursor in self._cursors.items():
            state = logs.get(f"{topic}/{partition}")
            if state is not None:
                cursor.next_offset, cursor.passed_clock_ns, passed_seqs = state
                cursor.fed_clock_ns = cursor.passed_clock_ns
                cursor.passed_seqs, cursor.fed_seqs = dict(passed_seqs), dict(passed_seqs)


def _time_symbol_seq(record: Any) -> tuple[int, str, int]:
    return record.ts_ns, record.symbol, record.seq


def check_bar(bar: Bar) -> None:
    """Raise InvalidField for an invalid bar. Valid: prices > 0 and finite, low <= open, close <= high, volume >= 0.

    >>> check_bar(Bar("A", 1, 60, 0, 10.0, 9.0, 9.5, 10.0, 5.0, "REGULAR", 20240102, True))
    Traceback (most recent call last):
    schemas.errors.InvalidField: field high must be >= low 9.5, found 9.0
    """
    if 0.0 < bar.low <= bar.open <= bar.high < inf and bar.low <= bar.close <= bar.high and 0.0 <= bar.volume < inf:
        return
    for name in ("open", "high", "low", "close"):
        price = getattr(bar, name)
        if not 0.0 < price < inf:
            raise InvalidField(f"field {name} must be > 0 and finite, found {price}")
    if bar.high < bar.low:
        raise InvalidField(f"field high must be >= low {bar.low}, found {bar.high}")
    for name in ("open", "close"):
        price = getattr(bar, name)
        if not bar.low <= price <= bar.high:
            raise InvalidField(f"field {name} must be in [{bar.low}, {bar.high}], found {price}")
    raise InvalidField(f"field volume must be >= 0 and finite, found {bar.volume}")


def check_quote(quote: Quote) -> None:
    """Raise InvalidField for an invalid quote. Valid: 0 < bid <= ask, both finite, sizes >= 0.

    >>> check_quote(Quote("A", 1, 60, 10.0, 9.0, 1.0, 1.0))
    Traceback (most recent call last):
    schemas.errors.InvalidField: field ask must be >= bid 10.0 and finite, found 9.0
    """
    if not 0.0 < quote.bid < inf:
        raise InvalidField(f"field bid must be > 0 and finite, found {quote.bid}")
    if not quote.bid <= quote.ask < inf:
        raise InvalidField(f"field ask must be >= bid {quote.bid} and finite, found {quote.ask}")
    for name in ("bid_size", "ask_size"):
        size = getattr(quote, name)
        if not 0.0 <= size < inf:
            raise InvalidField(f"field {name} must be >= 0 and finite, found {size}")
