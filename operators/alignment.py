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

The reader verifies commands and configurations before any stage receives them. The result depends only on their log
(`operators/command_signatures.py`, `configuration_chain.py`), so it is the same in all services and replays. A record
that is not authentic becomes a dead letter.

The in-band clocks follow Li et al., "Semantics and Evaluation Techniques for Window Aggregates in Data Streams" (SIGMOD
2005), section 3. Time-aligned reading is the idea of Kafka Streams' KIP-353, here controlled by the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from operators.log_cursor import LogCursor, LogInput, LogSegment, RejectedRecord, Signatures
from operators.market_data_checks import check_market_data
from operators.stage import TimeSlice
from schemas.codec import SCHEMA_IDS, encode
from schemas.errors import InvalidField
from schemas.records import (
    CheckpointMarker,
    Clock,
    Command,
    Configuration,
    DeadLetter,
    LateRecord,
    Record,
    SequencedRecord,
    Trade,
)

VERSION = 1
KEYED_VERSION = 2
"""The version of a snapshot after the cut-over: the state of a log of signed records has a fourth element, its keys."""


class AlignmentCounts(NamedTuple):
    """Numbers of records that a reader has processed. `unverified_commands` have no valid signature."""

    accepted: int
    duplicates: int
    late: int
    gaps: int
    dead_letters: int
    unverified_commands: int = 0


class AlignedLogs:
    """Merge several logs into time slices. Feed each log in its own order; the logs may arrive in any order.

    `stage` is the name of the reader in dead letters. `snapshot` is the snapshot of an earlier reader of the same logs,
    or None. A log that the snapshot lacks, because an earlier release did not read it, joins at the snapshot's time.
    With `until_ns`, time slices after this time are not returned and do not change the snapshot.
    """

    def __init__(
        self, stage: str, logs: Sequence[LogInput], snapshot: Any = None, *, until_ns: int | None = None
    ) -> None:
        self._stage, self._until_ns = stage, until_ns
        self._cursors = {(log.topic, log.partition): LogCursor(log) for log in sorted(logs, key=lambda log: log.rank)}
        self._main = [cursor for cursor in self._cursors.values() if not cursor.log.feedback]
        self._feedback = [cursor for cursor in self._cursors.values() if cursor.log.feedback]
        assert self._main, f"{stage} requires an input that is not a feedback input"
        self.passed_ns = -1
        self._accepted = self._duplicates = self._late = self._gaps = self._dead_letters = 0
        self._unverified_commands = 0
        self.marker: CheckpointMarker | None = None
        """The checkpoint marker of the last time slice; `take_slices` returns no time slice after it."""
        self._markers_waiting = 0
        if snapshot is not None:
            self._restore(snapshot)

    # -- feeding

    def feed(self, topic: str, partition: int, messages: Iterable[tuple[int, Record | Clock]]) -> None:
        """Add messages `(offset, record)` of one log, in log order. A DeadLetter replaces a malformed message."""
        cursor = self._cursors[topic, partition]
        if cursor.sequenced:
            self._feed_sequenced(cursor, cast("Iterable[tuple[int, SequencedRecord | DeadLetter | Clock]]", messages))
            return
        for offset, record in messages:
            if type(record) is Clock:
                cursor.feed_clock(record, offset)
            elif type(record) is DeadLetter:
                self._add_dead_letter(cursor, record)
            elif isinstance(record, Command | Configuration) and cursor.signatures is not None:
                self._feed_signed(cursor, offset, record, cursor.signatures)
            else:
                self._markers_waiting += type(record) is CheckpointMarker
                cursor.open_records.append(record)

    def _feed_signed(
        self, cursor: LogCursor, offset: int, record: Command | Configuration, signatures: Signatures
    ) -> None:
        """Add an authentic record. Another record becomes a dead letter; if it is a halt, it is added too."""
        # Each log has records of the type that its signatures check.
        cursor.signatures, is_accepted, reason = signatures.check(record)  # type: ignore[arg-type]
        if is_accepted:
            cursor.open_records.append(record)
        if not reason:
            self._duplicates += not is_accepted
            return
        self._unverified_commands += 1
        dead_letter = DeadLetter(
            topic=cursor.log.topic,
            partition=cursor.log.partition,
            offset=offset,
            stage=self._stage,
            ts_ns=0,
            reason=reason,
            schema_id=SCHEMA_IDS[type(record)],
            raw=encode(record),
        )
        self._add_dead_letter(cursor, dead_letter)

    def _feed_sequenced(
        self, cursor: LogCursor, messages: Iterable[tuple[int, SequencedRecord | DeadLetter | Clock]]
    ) -> None:
        fed_seqs, by_symbol, open_records = cursor.fed_seqs, cursor.by_symbol, cursor.open_records
        for offset, record in messages:
            if type(record) is Clock:
                cursor.feed_clock(record, offset)
                open_records = cursor.open_records
                continue
            if type(record) is DeadLetter:
                self._add_dead_letter(cursor, record)
                continue
            # Every record of this topic has a symbol. Checking each one would slow the loop down.
            key = record.symbol if by_symbol else ""  # type: ignore[union-attr]
            last = fed_seqs.get(key, 0)
            if record.seq <= last:
                self._duplicates += 1
                continue
            if cursor.market_data and self._reject_market_data(cursor, offset, record):
                continue
            if record.seq != last + 1 and last:
                self._gaps += 1
            fed_seqs[key] = record.seq
            open_records.append(record)

    def _add_dead_letter(self, cursor: LogCursor, dead_letter: DeadLetter) -> None:
        self._dead_letters += 1
        cursor.dead_letters.append(dead_letter._replace(ts_ns=max(cursor.fed_clock_ns, 0)))

    def _reject_market_data(self, cursor: LogCursor, offset: int, record: SequencedRecord) -> bool:
        """Whether market data is late or invalid. If so, add it to the dead letters at the end of the time slice.

        A trade is never late: its time is that of the exchange, and it belongs to the first time slice after its
        arrival.
        """
        log, clock_ns = cursor.log, max(cursor.fed_clock_ns, 0)
        if record.ts_ns <= cursor.fed_clock_ns and (type(record) is not Trade or cursor.joining):
            if cursor.joining:
                return True  # from before the snapshot to which the log is added
            self._late += 1
            reason = f"late: field ts_ns must be > {cursor.fed_clock_ns}, the clock of the log, found {record.ts_ns}"
            cursor.dead_letters.append(
                LateRecord(
                    topic=log.topic,
                    partition=log.partition,
                    offset=offset,
                    stage=self._stage,
                    ts_ns=clock_ns,
                    record_ts_ns=record.ts_ns,
                    reason=reason,
                    schema_id=SCHEMA_IDS[type(record)],
                    raw=encode(record),
                )
            )
            return True
        try:
            check_market_data(record)
        except InvalidField as error:
            self._dead_letters += 1
            cursor.dead_letters.append(
                DeadLetter(
                    topic=log.topic,
                    partition=log.partition,
                    offset=offset,
                    stage=self._stage,
                    ts_ns=clock_ns,
                    reason=str(error),
                    schema_id=None,
                    raw=repr(record).encode(),
                )
            )
            return True
        return False

    def buffered(self, topic: str, partition: int) -> int:
        """Number of records and clocks of one log that wait for the other logs."""
        return self._cursors[topic, partition].buffered

    def joining(self, topic: str, partition: int) -> bool:
        """Whether the snapshot lacks a log, which is still being read up to the time of the snapshot."""
        return self._cursors[topic, partition].joining

    def awaited_logs(self) -> list[tuple[str, int]]:
        """The logs whose next clock the next time slice requires; empty if a time slice is complete."""
        awaited = [cursor for cursor in self._main if not cursor.segments]
        awaited += [cursor for cursor in self._feedback if cursor.fed_clock_ns < self.passed_ns]
        return [(cursor.log.topic, cursor.log.partition) for cursor in awaited]

    # -- time slices

    def take_slices(self, records_max: int = 2000) -> list[TimeSlice]:
        """Return the complete time slices, until they contain `records_max` records or more, or a checkpoint marker."""
        out: list[TimeSlice] = []
        records_left = records_max
        while records_left > 0 and (time_slice := self._next_slice()) is not None:
            records_left -= len(time_slice.records) + 1
            out.append(time_slice)
            if self.marker is not None:
                break
        return out

    def ready(self) -> bool:
        """Whether a time slice is complete."""
        for cursor in self._main:
            if not cursor.segments:
                return False
        return all(cursor.fed_clock_ns >= self.passed_ns for cursor in self._feedback)

    @property
    def finished(self) -> bool:
        """Whether all time slices up to `until_ns` were returned."""
        if self._until_ns is None:
            return False
        if self.passed_ns >= self._until_ns:
            return True
        return self.ready() and min(cursor.segments[0].ts_ns for cursor in self._main) > self._until_ns

    def _next_slice(self) -> TimeSlice | None:
        if not self.ready():
            return None
        ts_ns = min(cursor.segments[0].ts_ns for cursor in self._main)
        if self._until_ns is not None and ts_ns > self._until_ns:
            return None
        segments: list[tuple[LogCursor, LogSegment]] = []
        for cursor in self._cursors.values():
            up_to_ns = self.passed_ns if cursor.log.feedback else ts_ns
            while cursor.segments and cursor.segments[0].ts_ns <= up_to_ns:
                segments.append((cursor, cursor.pop_segment()))
        time_slice = TimeSlice(ts_ns, self._merge(segments, ts_ns))
        self.passed_ns = ts_ns
        self.marker = self._take_marker(segments) if self._markers_waiting else None
        return time_slice

    def _take_marker(self, segments: list[tuple[LogCursor, LogSegment]]) -> CheckpointMarker | None:
        """Return the last checkpoint marker of a time slice. Markers before the start of a joining log do not count."""
        records = (record for cursor, segment in segments if not cursor.sequenced for record in segment.records)
        markers = [record for record in records if type(record) is CheckpointMarker]
        self._markers_waiting -= len(markers)
        return markers[-1] if markers else None

    def _merge(self, segments: list[tuple[LogCursor, LogSegment]], ts_ns: int) -> list[Record]:
        records: list[Record] = []
        dead_letters: list[RejectedRecord] = []
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
        self, segments: list[tuple[LogCursor, LogSegment]], records: list[Record], ts_ns: int
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
        return AlignmentCounts(
            accepted=self._accepted,
            duplicates=self._duplicates,
            late=self._late,
            gaps=self._gaps,
            dead_letters=self._dead_letters,
            unverified_commands=self._unverified_commands,
        )

    def next_offsets(self) -> dict[tuple[str, int], int]:
        """Return, for each log, the first message that is in no time slice yet. A restart continues there."""
        return {name: cursor.next_offset for name, cursor in self._cursors.items()}

    def snapshot(self) -> Any:
        """Return the state after the last time slice. Messages fed after it are read again."""
        version, logs = VERSION, dict[str, Any]()
        for (topic, partition), cursor in self._cursors.items():
            state: tuple[Any, ...] = (cursor.next_offset, cursor.passed_clock_ns, dict(cursor.passed_seqs))
            if cursor.passed_signatures is not None and cursor.passed_signatures.required:
                version, state = KEYED_VERSION, (*state, cursor.passed_signatures.snapshot())
            logs[f"{topic}/{partition}"] = state
        return (version, self.passed_ns, logs)

    def _restore(self, snapshot: Any) -> None:
        version, self.passed_ns, logs, *_ = snapshot
        assert version in (VERSION, KEYED_VERSION), f"reader snapshot: version {version}, expected {KEYED_VERSION}"
        for (topic, partition), cursor in self._cursors.items():
            state = logs.get(f"{topic}/{partition}")
            if state is None:
                cursor.fed_clock_ns = cursor.passed_clock_ns = self.passed_ns
                cursor.joining = True
            else:
                cursor.next_offset, cursor.passed_clock_ns, passed_seqs, *keys = state
                cursor.fed_clock_ns = cursor.passed_clock_ns
                cursor.passed_seqs, cursor.fed_seqs = dict(passed_seqs), dict(passed_seqs)
                if keys:
                    assert cursor.signatures is not None, f"{topic} has no signed records"
                    cursor.signatures = cursor.passed_signatures = cursor.signatures.restored(keys[0])
                # A clock is a message, so a passed clock without a passed message is the time at which the log joined.
                cursor.joining = cursor.next_offset == 0 and cursor.passed_clock_ns >= 0


def _time_symbol_seq(record: Any) -> tuple[int, str, int]:
    return record.ts_ns, record.symbol, record.seq
