"""The whole platform as `start` runs it: how fast a tape goes through all topics, and what it costs at rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.home import REPOSITORY, Home
from deploy.local.endpoints import Ports, port_variable
from tests.performance.conftest import Figure
from tests.performance.market import write_bars

SYMBOLS, MINUTES = 5, 2_000
IDLE_S, DONE_WITHIN_S = 20.0, 240.0
MEMORY_MB_MAX = 2_500
SETTINGS = 'market_data: {files: {calendar: "24/7"}}\n'


class Platform:
    """A platform with a state folder and ports of its own."""

    def __init__(self, home: Home) -> None:
        self.home = home
        ports = vars(Ports.free())
        self._environment = {
            **os.environ,
            **{port_variable(name): str(port) for name, port in ports.items()},
            "PLATFORM_HOME": str(home.root),
            "PLATFORM_PYTHON_ENV": "current",
            "PYTHONPATH": str(REPOSITORY),
        }
        for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL"):
            self._environment.pop(name, None)  # the tests' own servers

    def run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout[-1000:]} {done.stderr[-1000:]}"
        return done.stdout

    def stats(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home.stats / f"{service}.json").read_text())
        return found

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Each service's processes; Postgres has several."""
        state = json.loads(self.home.state_file.read_text())
        pids = {child["name"]: child["pid"] for child in state["children"]}
        out = {"supervisor": [psutil.Process(state["supervisor_pid"])]}
        for name, pid in pids.items():
            process = psutil.Process(pid)
            out[name] = [process, *process.children(recursive=True)]
        return out


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    made = Platform(Home(tmp_path / "home"))
    yield made
    made.run("stop")


def processor_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_tape_through_all_topics_and_the_platform_at_rest(platform: Platform, tmp_path: Path, figure: Figure) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS)
    bars = sorted(write_bars(tmp_path / "bars", SYMBOLS, MINUTES).glob("*.csv"))
    platform.run("start", "--feed", "files", "--settings", str(settings), "--bars", *map(str, bars))

    played = tape_played(platform)
    title = f"a tape of {MINUTES:,} minutes, {SYMBOLS} symbols, through all topics"
    figure(title, "done before the start returned" if played is None else f"{played:,.0f} ticks/s")

    time.sleep(5)  # the last snapshots and commits
    processes = platform.processes()
    before = {name: processor_s(each) for name, each in processes.items()}
    time.sleep(IDLE_S)
    share = {name: (processor_s(each) - before[name]) / IDLE_S for name, each in processes.items()}
    memory_mb = {name: sum(p.memory_info().rss for p in each) / 1e6 for name, each in processes.items()}
    dearest = sorted(share, key=lambda name: -share[name])[:3]
    figure(
        "the platform at rest",
        f"{sum(share.values()):.1%} of a core ({', '.join(f'{name} {share[name]:.1%}' for name in dearest)}), "
        f"{sum(memory_mb.values()):,.0f} MB",
    )
    assert sum(memory_mb.values()) < MEMORY_MB_MAX
    assert sum(share.values()) < 0.5, "somebody does not sleep"


def tape_played(platform: Platform) -> float | None:
    """Ticks a second of the trading loop, from the statistics that it writes every second."""
    records = MINUTES * SYMBOLS
    points = [platform.stats("execution")]
    deadline = time.monotonic() + DONE_WITHIN_S
    while points[-1]["records_in"] < records:
        assert time.monotonic() < deadline, f"the tape stands at {points[-1]}"
        time.sleep(0.2)
        now = platform.stats("execution")
        if now["updated_at"] != points[-1]["updated_at"]:
            points.append(now)
    if len(points) < 2:
        return None
    minutes: float = (points[-1]["last_tick_ns"] - points[0]["last_tick_ns"]) / 60e9
    seconds: float = points[-1]["updated_at"] - points[0]["updated_at"]
    return minutes / seconds
