"""A drained stop waits until every service reports the last time slice of the feeds."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor import drain as drain_module
from deploy.supervisor.drain import drain
from deploy.supervisor.state import ChildState, ChildStatus, PlatformState, initial_state

NAMES = ("kafka", "market_data", "news", "fundamentals", "features", "risk")


class RunningPlatform:
    """A platform without processes. `positions` are the last time slices that the services report."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.stopped = Home(folder), list[str]()
        self.home.create_folders()
        self.positions = {"features": 5, "risk": 5}
        monkeypatch.setattr(drain_module, "running_state", lambda home: self._state())
        monkeypatch.setattr(drain_module, "stop_one", lambda home, name: self.stopped.append(name))
        monkeypatch.setattr(drain_module, "REPORT_S", -1.0)

    def _state(self) -> PlatformState:
        children = [
            ChildState(name, "dataflow", ChildStatus.HEALTHY, replica_of=None if name == "kafka" else name)
            for name in NAMES
        ]
        return replace(initial_state("all healthy"), children=tuple(children))

    def report(self) -> None:
        for name, last_ns in self.positions.items():
            row = {"service": name, "updated_at": time.time(), "last_tick_ns": last_ns}
            (self.home.stats / f"{name}.json").write_text(json.dumps(row))


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunningPlatform:
    return RunningPlatform(tmp_path, monkeypatch)


def test_the_feeds_stop_first_and_equal_positions_end_the_wait(platform: RunningPlatform) -> None:
    platform.report()
    lines: list[str] = []
    drain(platform.home, lines.append)
    assert platform.stopped == ["fundamentals", "market_data", "news"]
    assert lines == ["draining: stopping the feeds"]


def test_a_service_that_stays_behind_is_named(platform: RunningPlatform) -> None:
    platform.positions["risk"] = 4
    platform.report()
    with pytest.raises(DeployError, match="features at 5, risk at 4; the feeds are stopped"):
        drain(platform.home, lambda line: None, timeout_s=0.0)


def test_nothing_is_drained_without_a_platform(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    drain(home, pytest.fail)
