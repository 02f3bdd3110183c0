"""The feed of a chaos run is held while others are behind, and never so that they wait for what it has not sent."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.chaos.feed_throttle import FEED, HeldFeed
from deploy.supervisor.processes import identify

COUNTING = "import sys, time\nwhile True:\n    print(1, flush=True)\n    time.sleep(0.005)"
CLOCKS = list(range(0, 1000, 10))


class Running:
    """What a feed is held by: how far each dataflow is, and the feed's process, which counts while it runs."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.places: dict[str, int] = {}
        with file.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, "-c", COUNTING], stdout=out)
        self.identity = identify(self.process.pid)

    def passed_ns(self, service: str) -> int:
        return self.places.get(service, 0)

    def children(self, service: str) -> tuple[Any, ...]:
        return (self,)

    def went_on(self, seconds: float) -> int:
        """How far the process counts within the time."""
        before = self._file.stat().st_size
        time.sleep(seconds)
        return self._file.stat().st_size - before

    def wait_held(self) -> None:
        deadline = time.monotonic() + 10.0
        while self.went_on(0.1):
            assert time.monotonic() < deadline, "the feed is not held"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    at = Running(tmp_path / "counted")
    yield at
    at.process.kill()
    at.process.wait()


def test_a_feed_that_is_ahead_stands_while_others_move_and_goes_on_when_it_may(running: Running) -> None:
    held: Any = HeldFeed(running, CLOCKS, lead=15)  # type: ignore[arg-type]
    running.places[FEED] = 500
    with held as feed:
        feed.go_to(99)
        running.wait_held()
        for _ in range(15):
            # The slowest comes nearer in small steps, so that nobody waits for the feed.
            running.places["risk"] = running.places.get("risk", 0) + 1
            assert running.went_on(0.1) == 0
        running.places = dict.fromkeys(held._reached, 500)
        time.sleep(0.3)
        assert running.went_on(0.3) > 0


def test_a_feed_that_all_wait_for_goes_on_for_a_moment_to_send_what_it_holds(running: Running) -> None:
    held: Any = HeldFeed(running, CLOCKS, lead=15)  # type: ignore[arg-type]
    running.places[FEED] = 500
    with held as feed:
        feed.go_to(99)
        running.wait_held()
        assert running.went_on(2.5) > 0
    assert running.went_on(0.3) > 0, "what was held goes on at the end"
