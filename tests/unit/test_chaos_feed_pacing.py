"""The feed of a chaos run is held while others are behind, and never so that they wait for what it has not sent."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.chaos.throttled_feed import FEED, ThrottledFeed
from deploy.supervisor.processes import identify

COUNTING_SCRIPT = "import sys, time\nwhile True:\n    print(1, flush=True)\n    time.sleep(0.005)"
CLOCKS = list(range(0, 1000, 10))


class FakePlatform:
    """What a feed is held by: how far each dataflow is, and the feed's process, which counts while it runs."""

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
        """How far the process counts within the time."""
        before = self._file.stat().st_size
        time.sleep(seconds)
        return self._file.stat().st_size - before

    def wait_until_paused(self) -> None:
        deadline = time.monotonic() + 10.0
        while self.bytes_counted(0.1):
            assert time.monotonic() < deadline, "the feed is not held"


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
        feed.go_to(99)
        running.wait_until_paused()
        for _ in range(15):
            # The slowest comes nearer in small steps, so that nobody waits for the feed.
            running.progress_ns["risk"] = running.progress_ns.get("risk", 0) + 1
            assert running.bytes_counted(0.1) == 0
        running.progress_ns = dict.fromkeys(paced_feed._reached, 500)
        time.sleep(0.3)
        assert running.bytes_counted(0.3) > 0


def test_paused_feed_resumes_briefly_when_all_wait_for_it(running: FakePlatform) -> None:
    paced_feed: Any = ThrottledFeed(running, CLOCKS, lead_max=15)  # type: ignore[arg-type]
    running.progress_ns[FEED] = 500
    with paced_feed as feed:
        feed.go_to(99)
        running.wait_until_paused()
        assert running.bytes_counted(2.5) > 0
    assert running.bytes_counted(0.3) > 0, "what was held goes on at the end"
