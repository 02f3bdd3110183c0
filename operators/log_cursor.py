"""The position of a reader in one log: what was fed, and what was passed on in time slices."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, cast

from operators.command_signatures import CommandSignatures
from operators.configuration_chain import ConfigurationChain
from schemas.records import (
    BY_SYMBOL,
    EXTERNAL_RECORDS,
    TOPIC_OF,
    Clock,
    Command,
    Configuration,
    DeadLetter,
    LateRecord,
    Record,
    SequencedRecord,
    SymbolRecord,
)

RejectedRecord = DeadLetter | LateRecord
_SYMBOL_TOPICS = frozenset(TOPIC_OF[record_type] for record_type in BY_SYMBOL)
_MARKET_DATA_TOPICS = frozenset({"market-bars", "market-quotes", "market-trades"})
Signatures = CommandSignatures | ConfigurationChain
"""What a log of signed records has recorded: the keys that verify them."""
_FIRST_SIGNATURES: dict[str, Signatures] = {
    TOPIC_OF[Command]: CommandSignatures(),
    TOPIC_OF[Configuration]: ConfigurationChain(),
}
_UNSEQUENCED_TOPICS = frozenset(TOPIC_OF[record_type] for record_type in EXTERNAL_RECORDS)


class LogInput(NamedTuple):
    """One partition of a topic as an input of a stage. `rank` orders the inputs in a time slice, lowest first."""

    topic: str
    partition: int
    rank: int
    feedback: bool = False


class LogSegment(NamedTuple):
    """The messages of one log between two clocks. `signatures` are the keys that the log has recorded at its end."""

    ts_ns: int
    records: list[Record]
    dead_letters: list[RejectedRecord]
    next_offset: int
    at_clock: bool  # whether every record has the time of the clock
    signatures: Signatures | None


class LogCursor:
    """The position in one log: what was fed, and what was passed on in time slices."""

    __slots__ = (
        "buffered",
        "by_symbol",
        "dead_letters",
        "fed_clock_ns",
        "fed_seqs",
        "joining",
        "log",
        "market_data",
        "next_offset",
        "open_records",
        "passed_clock_ns",
        "passed_seqs",
        "passed_signatures",
        "segments",
        "sequenced",
        "signatures",
        "skipped_clock_ns",
    )

    def __init__(self, log: LogInput) -> None:
        self.log = log
        self.by_symbol = log.topic in _SYMBOL_TOPICS
        self.market_data = log.topic in _MARKET_DATA_TOPICS
        self.sequenced = log.topic not in _UNSEQUENCED_TOPICS
        self.fed_clock_ns = self.passed_clock_ns = -1  # last clock fed, and last clock passed on
        self.next_offset = 0  # first message that is in no passed time slice
        self.fed_seqs: dict[str, int] = {}  # key -> last seq fed
        self.passed_seqs: dict[str, int] = {}  # key -> last seq passed on
        self.segments: deque[LogSegment] = deque()
        self.open_records: list[Record] = []
        self.dead_letters: list[RejectedRecord] = []
        self.buffered = 0
        # The keys that the log has recorded, up to the last message fed and in the last time slice passed on.
        self.signatures = self.passed_signatures = _FIRST_SIGNATURES.get(log.topic)
        self.joining = False  # an input that the snapshot lacks: its records up to the snapshot's time are skipped
        self.skipped_clock_ns = -1  # last clock before which records were skipped

    def feed_clock(self, clock: Clock, offset: int) -> None:
        """Close the open segment, unless the clock is a duplicate."""
        if clock.ts_ns > self.fed_clock_ns:
            self.joining = False
            self._close_segment(clock, offset)
        elif self.joining and clock.ts_ns > self.skipped_clock_ns:
            # A repeated clock skips nothing: the records since its first copy belong to the next clock.
            self.skipped_clock_ns = clock.ts_ns
            self.open_records.clear()
            self.dead_letters.clear()

    def _close_segment(self, clock: Clock, offset: int) -> None:
        ts_ns, records = clock.ts_ns, self.open_records
        at_clock = all(record.ts_ns == ts_ns for record in records)
        self.segments.append(
            LogSegment(
                ts_ns=ts_ns,
                records=records,
                dead_letters=self.dead_letters,
                next_offset=offset + 1,
                at_clock=at_clock,
                signatures=self.signatures,
            )
        )
        self.buffered += len(records) + 1
        self.fed_clock_ns, self.open_records, self.dead_letters = ts_ns, [], []

    def pop_segment(self) -> LogSegment:
        segment = self.segments.popleft()
        self.passed_clock_ns, self.next_offset = segment.ts_ns, segment.next_offset
        self.passed_signatures = segment.signatures
        self.buffered -= len(segment.records) + 1
        passed_seqs = self.passed_seqs
        if self.by_symbol:
            for record in cast("list[SymbolRecord]", segment.records):
                passed_seqs[record.symbol] = record.seq
        elif segment.records and self.sequenced:
            passed_seqs[""] = cast("SequencedRecord", segment.records[-1]).seq
        return segment
