"""The feed of a chaos run pauses while other dataflows are behind. It resumes briefly if they wait for its messages."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflows.runtime import topology
from deploy.chaos import throttled_feed
from deploy.chaos.throttled_feed import FEED, ThrottledFeed
from deploy.supervisor.processes import identify

COUNTING_SCRIPT = "import sys, time\nwhile True:\n    print(1, flush=True)\n    time.sleep(0.005)"
CLOCKS = list(range(0, 1000, 10))


class FakePlatform:
    """A fake platform: the progress of each dataflow, and a feed process that writes to a file while it runs."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.progress_ns: dict[str, int] = {}
        with file.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, "-c", COUNTING_SCRIPT], stdout=out)
        self.identity = identify(self.process.pid)

    def passed_ns(self, service: str) -> int:
        return self.progress_ns.get(service, 0)

    def children(self, service: str) -> tuple[Any, ...]:
        return (self,)

    def bytes_counted(self, seconds: float) -> int:
        """Return the number of bytes that the process writes within `seconds`."""
        before = self._file.stat().st_size
        time.sleep(seconds)
        return self._file.stat().st_size - before

    def wait_until_paused(self) -> None:
        deadline = time.monotonic() + 60.0
        while self.bytes_counted(0.1):
            assert time.monotonic() < deadline, "the feed does not pause"

    def wait_until_counting(self) -> None:
        deadline = time.monotonic() + 60.0
        while not self.bytes_counted(0.1):
            assert time.monotonic() < deadline, "the feed does not resume"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[FakePlatform]:
    platform = FakePlatform(tmp_path / "counted")
    yield platform
    platform.process.kill()
    platform.process.wait()


def test_feed_ahead_of_others_pauses_and_resumes_when_they_catch_up(running: FakePlatform) -> None:
    paced_feed: Any = ThrottledFeed(running, CLOCKS, lead_max=15)  # type: ignore[arg-type]
    running.progress_ns[FEED] = 500
    with paced_feed as feed:
        feed.allow_until(99)
        running.wait_until_paused()
        for _ in range(15):
            # The slowest dataflow advances in small steps, so no dataflow waits for the feed.
            running.progress_ns["risk"] = running.progress_ns.get("risk", 0) + 1
            assert running.bytes_counted(0.1) == 0
        running.progress_ns = dict.fromkeys(topology.SERVICES, 500)
        running.wait_until_counting()


def test_paused_feed_resumes_briefly_when_all_wait_for_it(running: FakePlatform) -> None:
    paced_feed: Any = ThrottledFeed(running, CLOCKS, lead_max=15)  # type: ignore[arg-type]
    running.progress_ns[FEED] = 500
    with paced_feed as feed:
        feed.allow_until(99)
        running.wait_until_paused()
        running.wait_until_counting()
    running.wait_until_counting()


def test_paused_feed_that_nobody_waits_for_rarely_resumes(
    running: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others have reached the feed: a fault that takes long must not use up the tape."""
    monkeypatch.setattr(throttled_feed, "_REPORT_AFTER_S", 3600.0)
    paced_feed: Any = ThrottledFeed(running, CLOCKS, lead_max=15)  # type: ignore[arg-type]
    running.progress_ns = dict.fromkeys(topology.SERVICES, 500)
    with paced_feed:
        running.wait_until_paused()
        assert running.bytes_counted(3.0) == 0


def test_paused_feed_reports_before_it_counts_as_unhealthy(
    running: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs until it reports, not only for a moment."""
    monkeypatch.setattr(throttled_feed, "_REPORT_WITHIN_S", 3600.0)
    paced_feed: Any = ThrottledFeed(running, CLOCKS, lead_max=15)  # type: ignore[arg-type]
    running.progress_ns = dict.fromkeys(topology.SERVICES, 500)
    with paced_feed:
        running.wait_until_paused()
        running.wait_until_counting()
        assert running.bytes_counted(1.0) > 0
        running.progress_ns[FEED] = 510
        running.wait_until_paused()


def test_feed_is_not_paused_before_its_first_report(running: FakePlatform) -> None:
    """A start waits until the feed is healthy."""
    paced_feed: Any = ThrottledFeed(running, CLOCKS, lead_max=15)  # type: ignore[arg-type]
    running.progress_ns = dict.fromkeys(topology.SERVICES, 500)
    with paced_feed:
        running.wait_until_paused()
        running.progress_ns[FEED] = -1  # restarted
        running.wait_until_counting()


def test_feed_is_not_paused_while_it_is_released(running: FakePlatform) -> None:
    """The process of a feed can end only if it runs."""
    paced_feed: Any = ThrottledFeed(running, CLOCKS, lead_max=15)  # type: ignore[arg-type]
    running.progress_ns = dict.fromkeys(topology.SERVICES, 500)
    with paced_feed as feed:
        running.wait_until_paused()
        with feed.released():
            running.wait_until_counting()
        running.wait_until_paused()
