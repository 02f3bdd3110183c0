"""A live feed whose clocks a test advances."""

from __future__ import annotations

from configs.settings import LiveFeedSection
from dataflows.sources.market.clock_recovery import FeedTopicState
from dataflows.sources.market.live_feed import LiveFeed
from dataflows.sources.market.waiting_records import WaitingRecords
from operators.bar_completion import Calendar, Sessions
from tests.manual_clock import ManualClock
from tests.unit.test_live_feed import SECOND_NS, START_NS, FakeProvider

MILLI_NS = 1_000_000
UPDATE_NS = 250 * MILLI_NS
OPEN_NS = 1_767_364_200 * SECOND_NS  # Friday 2026-01-02, 9:30 in New York


class OnDemandRun:
    """A live feed with a manual wall clock and a manual monotonic clock. Risk has passed every slice by default."""

    def __init__(
        self,
        *,
        topics: FeedTopicState | None = None,
        start_ns: int = START_NS,
        calendar: Calendar = "24/7",
        session: Sessions = "extended",
    ) -> None:
        self.wall, self.monotonic = ManualClock(start_ns), ManualClock(0)
        self.waiting = WaitingRecords(UPDATE_NS, now_ns=self.monotonic)
        self.waiting.add_risk_clock(2**62)
        self.provider = FakeProvider()
        settings = LiveFeedSection(symbols=("A",), calendar=calendar, session=session)
        self.feed = LiveFeed(
            settings,
            [self.provider],
            lambda since_ns: topics or FeedTopicState(),
            now_ns=self.wall,
            waiting=self.waiting,
        )

    def advance(self, delta_ns: int) -> None:
        self.wall.now_ns += delta_ns
        self.monotonic.now_ns += delta_ns

    def take(self) -> list[int]:
        return [time_slice.ts_ns for time_slice in self.feed.take(100)]

    def times_until(self, end_ns: int) -> list[int]:
        """Advance to each time at which the feed is due, and return the times of its slices."""
        times = self.take()
        while True:
            due_ns = self.feed.due_ns()
            assert due_ns is not None and due_ns > self.wall.now_ns, "the feed would wait in a busy loop"
            if due_ns > end_ns:
                return times
            self.advance(due_ns - self.wall.now_ns)
            times += self.take()
