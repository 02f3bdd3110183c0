"""A feed that was killed between two of its topics: the next process completes the clocks of all topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from configs.settings import LiveFeedSection
from dataflows.sources.market.clock_recovery import FeedTopicState, Since, clocked_logs
from dataflows.sources.market.live_feed import LiveFeed
from dataflows.sources.market.provider import QuoteUpdate
from operators import log_cursor
from operators.alignment import AlignedLogs
from operators.partitions import partition_of
from operators.stage import TimeSlice
from schemas.log_names import LogName
from schemas.records import TOPIC_OF, Bar, Clock, Record, StrategyWeights, has_symbol
from tests.unit.test_live_feed import MINUTE_NS, SECOND_NS, START_NS, FakeProvider

PARTITIONS, STEP_NS = 2, SECOND_NS // 4
SYMBOLS = ("A", "D")  # one in each partition
LOGS = clocked_logs(PARTITIONS)
Messages = dict[LogName, list[Record | Clock]]


class KilledFeed:
    """Logs that hold everything up to a snapshot, and what one process wrote after it."""

    def __init__(self) -> None:
        self.provider = FakeProvider()
        for number in range(3):
            for symbol in SYMBOLS:
                self.provider.bar(START_NS + number * MINUTE_NS, symbol, 10.0 + number)
        self.provider.history_by_minute = dict(self.provider.rows_by_minute)
        self.written: Messages = {log: [] for log in LOGS}
        feed = self.open(START_NS, self.written)
        write(self.written, feed.take(100))
        feed = self.open(START_NS + MINUTE_NS - STEP_NS, self.written, feed.state())
        write(self.written, feed.take(100))
        self.state = feed.state()
        self.provider.quotes = [
            QuoteUpdate(symbol=symbol, bid=1.0, ask=2.0, bid_size=1.0, ask_size=1.0) for symbol in SYMBOLS
        ]
        self.unconfirmed: Messages = {log: [] for log in LOGS}
        write(self.unconfirmed, self.open(START_NS + MINUTE_NS + STEP_NS, self.written, self.state).take(100))

    def open(self, now_ns: int, logs: Messages, state: dict[str, Any] | None = None) -> LiveFeed:
        """Open a feed that reads the logs behind the offsets of the state. Records are acknowledged at once."""
        settings = LiveFeedSection(symbols=SYMBOLS, calendar="24/7", wait_s=5.0, clock_session_s=STEP_NS / SECOND_NS)
        feed = LiveFeed(
            settings,
            [self.provider],
            lambda since: topic_state(logs, since),
            delivered_offsets=lambda: {log: len(messages) for log, messages in logs.items()},
            now_ns=lambda: now_ns,
        )
        return feed.resume(state)

    def logs_after_restart(self, written: Mapping[LogName, int]) -> Messages:
        """Return the logs after a crash that left so many of the unconfirmed messages in each log, and a restart."""
        logs: Messages = {log: [*self.written[log], *self.unconfirmed[log][: written[log]]] for log in LOGS}
        feed = self.open(START_NS + MINUTE_NS + SECOND_NS, logs, self.state)
        write(logs, feed.take(100))
        later = self.open(START_NS + 2 * MINUTE_NS, logs, feed.state())
        write(logs, later.take(100))
        return logs


def write(logs: Messages, time_slices: Sequence[TimeSlice]) -> None:
    """Write time slices to the logs in the order of the sink."""
    for time_slice in time_slices:
        for record in time_slice.records:
            partition = partition_of(record.symbol, PARTITIONS) if has_symbol(record) else 0
            logs[TOPIC_OF[type(record)], partition].append(record)
        for log in LOGS:
            logs[log].append(Clock(time_slice.ts_ns, "market_data@test"))


def topic_state(logs: Messages, since: Since) -> FeedTopicState:
    """Return the state of the logs as the reader of Kafka does."""
    offsets = since if isinstance(since, Mapping) else dict.fromkeys(LOGS, 0)
    state = FeedTopicState(tuple(LOGS), starts=dict(offsets))
    for log, messages in logs.items():
        state.ends[log] = len(messages)
        for message in messages[offsets[log] :]:
            state.messages += 1
            state.add(log, message)
    return state


def clocks(messages: Sequence[Record | Clock]) -> list[int]:
    """Return the clocks of a log as its reader sees them."""
    seen: list[int] = []
    for message in messages:
        if type(message) is Clock and message.ts_ns > (seen[-1] if seen else -1):
            seen.append(message.ts_ns)
    return seen


def read(logs: Messages, names: Sequence[LogName]) -> AlignedLogs:
    reader = AlignedLogs("test", [log_cursor.LogInput(topic, partition, 0) for topic, partition in names])
    for topic, partition in names:
        reader.feed(topic, partition, list(enumerate(logs[topic, partition])))
    return reader


def test_each_topic_has_each_clock_wherever_the_feed_was_killed() -> None:
    """Each log may end after any of the messages since the snapshot, independently of the others."""
    killed = KilledFeed()
    bar_logs = [("market-bars", 0), ("market-bars", 1)]
    edges: list[LogName] = [("broker-updates", 0), ("commands", 0)]
    varied = [*bar_logs, ("market-quotes", 1), *edges]
    for ends in product(*(range(len(killed.unconfirmed[log]) + 1) for log in varied)):
        written = {log: len(messages) for log, messages in killed.unconfirmed.items()} | dict(
            zip(varied, ends, strict=True)
        )
        logs = killed.logs_after_restart(written)
        expected = clocks(logs["market-bars", 0])
        assert {START_NS + MINUTE_NS, START_NS + MINUTE_NS + STEP_NS} <= set(expected), ends
        assert all(clocks(messages) == expected for messages in logs.values()), ends
        reader = read(logs, [*bar_logs, ("market-quotes", 0), ("market-quotes", 1)])
        bars = [(t.ts_ns, r.symbol, r.seq) for t in reader.take_slices() for r in t.records if isinstance(r, Bar)]
        assert bars == [(START_NS + minute * MINUTE_NS, symbol, minute) for minute in (1, 2) for symbol in SYMBOLS], (
            ends
        )
        assert (reader.counts.late, reader.counts.gaps, reader.counts.dead_letters) == (0, 0, 0), ends


def test_a_clock_that_every_topic_lacks_is_not_repeated() -> None:
    """No reader has processed its time slice, so the next clock may end it."""
    killed = KilledFeed()
    logs = killed.logs_after_restart(dict.fromkeys(LOGS, 0))
    assert START_NS + MINUTE_NS + STEP_NS not in clocks(logs["commands", 0])
    assert len({tuple(clocks(messages)) for messages in logs.values()}) == 1


def test_a_bar_that_arrives_after_the_clock_of_its_log_is_not_written() -> None:
    """The provider has a first bar of D only after the restart, when the log of D has the clock of that minute."""
    killed = KilledFeed()
    written = {log: len(messages) for log, messages in killed.unconfirmed.items()}
    for log in killed.unconfirmed:
        killed.unconfirmed[log] = [r for r in killed.unconfirmed[log] if not (isinstance(r, Bar) and r.symbol == "D")]
    logs = killed.logs_after_restart(written | {("market-bars", 0): 0})
    reader = read(logs, [("market-bars", 0), ("market-bars", 1)])
    bars = [(t.ts_ns, r.symbol, r.seq) for t in reader.take_slices() for r in t.records if isinstance(r, Bar)]
    first, second = START_NS + MINUTE_NS, START_NS + 2 * MINUTE_NS
    assert bars == [(first, "A", 1), (second, "A", 2), (second, "D", 1)]
    assert reader.counts.late == 0


def test_a_snapshot_before_all_clocks_are_complete_lets_the_next_process_find_them() -> None:
    killed = KilledFeed()
    written = {log: len(messages) for log, messages in killed.unconfirmed.items()} | {("commands", 0): 0}
    logs = {log: [*killed.written[log], *killed.unconfirmed[log][: written[log]]] for log in LOGS}
    missing = [START_NS + MINUTE_NS, START_NS + MINUTE_NS + STEP_NS]
    feed = killed.open(START_NS + 2 * MINUTE_NS - STEP_NS, logs, killed.state)
    assert [time_slice.ts_ns for time_slice in feed.take(1)] == missing[:1]
    state = feed.state()
    assert (state["clock_ns"], state["offsets"]) == (missing[0], killed.state["offsets"])
    later = killed.open(START_NS + 2 * MINUTE_NS - STEP_NS, logs, state)
    assert [time_slice.ts_ns for time_slice in later.take(2)] == [missing[1], START_NS + 2 * MINUTE_NS - STEP_NS]
    assert later.state()["offsets"] == {log: len(messages) for log, messages in logs.items()}


def test_a_missing_clock_delays_a_feedback_record_of_one_service() -> None:
    """Why each topic must have each clock: `signals` would receive weights later than a replay of all topics does."""

    def delivered(feature_clocks: Sequence[int]) -> dict[int, int]:
        reader = AlignedLogs(
            "signals", [log_cursor.LogInput("weights", 0, 0, feedback=True), log_cursor.LogInput("features", 0, 1)]
        )
        weights = StrategyWeights(seq=1, ts_ns=20, weights={"trend": 1.0}, scores={}, reason="")
        reader.feed("features", 0, [(n, Clock(ts_ns, "x")) for n, ts_ns in enumerate(feature_clocks)])
        reader.feed("weights", 0, [(0, Clock(10, "x")), (1, weights), (2, Clock(20, "x")), (3, Clock(30, "x"))])
        return {time_slice.ts_ns: len(time_slice.records) for time_slice in reader.take_slices()}

    assert delivered([10, 20, 30]) == {10: 0, 20: 0, 30: 1}
    assert delivered([10, 30]) == {10: 0, 30: 0}
