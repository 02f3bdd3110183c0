"""The whole platform as `start` runs it: the speed of a tape through all topics, and the resource use when idle."""

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
from deploy.local.ports import Ports, port_variable
from tests.performance.conftest import RecordFigure
from tests.performance.market import write_bars

SYMBOLS, MINUTES = 5, 2_000
IDLE_S, TAPE_TIMEOUT_S = 20.0, 240.0
MEMORY_MB_MAX = 2_500
SETTINGS = 'market_data: {files: {calendar: "24/7"}}\n'


class StartedPlatform:
    """A platform with its own state folder and ports."""

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
            self._environment.pop(name, None)  # remove the servers of the test run

    def run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        completed = subprocess.run(
            command, cwd=REPOSITORY, env=self._environment, capture_output=True, text=True, check=False
        )
        assert completed.returncode == 0, (
            f"{' '.join(arguments)}: {completed.stdout[-1000:]} {completed.stderr[-1000:]}"
        )
        return completed.stdout

    def stats(self, service: str) -> dict[str, Any]:
        stats: dict[str, Any] = json.loads((self.home.stats / f"{service}.json").read_text())
        return stats

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Return the processes of each service. PostgreSQL has several."""
        state = json.loads(self.home.state_file.read_text())
        pids = {child["name"]: child["pid"] for child in state["children"]}
        out = {"supervisor": [psutil.Process(state["supervisor_pid"])]}
        for name, pid in pids.items():
            process = psutil.Process(pid)
            out[name] = [process, *process.children(recursive=True)]
        return out


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[StartedPlatform]:
    running = StartedPlatform(Home(tmp_path / "home"))
    yield running
    running.run("stop")


def cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_tape_throughput_and_idle_cost_of_the_platform(
    platform: StartedPlatform, tmp_path: Path, figure: RecordFigure
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS)
    bars = sorted(write_bars(tmp_path / "bars", SYMBOLS, MINUTES).glob("*.csv"))
    platform.run("start", "--feed", "files", "--settings", str(settings), "--bars", *map(str, bars))

    minutes_per_s = tape_minutes_per_s(platform)
    title = f"a tape of {MINUTES:,} minutes, {SYMBOLS} symbols, through all topics"
    figure(title, "done before the start returned" if minutes_per_s is None else f"{minutes_per_s:,.0f} ticks/s")

    time.sleep(5)  # wait for the last snapshots and commits
    processes = platform.processes()
    cpu_s_before = {name: cpu_seconds(each) for name, each in processes.items()}
    time.sleep(IDLE_S)
    cpu_share = {name: (cpu_seconds(each) - cpu_s_before[name]) / IDLE_S for name, each in processes.items()}
    memory_mb = {name: sum(p.memory_info().rss for p in each) / 1e6 for name, each in processes.items()}
    busiest = sorted(cpu_share, key=lambda name: -cpu_share[name])[:3]
    figure(
        "the platform at rest",
        f"{sum(cpu_share.values()):.1%} of a core ({', '.join(f'{name} {cpu_share[name]:.1%}' for name in busiest)}), "
        f"{sum(memory_mb.values()):,.0f} MB",
    )
    assert sum(memory_mb.values()) < MEMORY_MB_MAX
    assert sum(cpu_share.values()) < 0.5, "somebody does not sleep"


def tape_minutes_per_s(platform: StartedPlatform) -> float | None:
    """Return the trading loop's time slices per second, from the stats that it writes every second."""
    records = MINUTES * SYMBOLS
    stats_history = [platform.stats("execution")]
    deadline = time.monotonic() + TAPE_TIMEOUT_S
    while stats_history[-1]["records_in"] < records:
        assert time.monotonic() < deadline, f"the tape stands at {stats_history[-1]}"
        time.sleep(0.2)
        latest = platform.stats("execution")
        if latest["updated_at"] != stats_history[-1]["updated_at"]:
            stats_history.append(latest)
    if len(stats_history) < 2:
        return None
    minutes: float = (stats_history[-1]["last_tick_ns"] - stats_history[0]["last_tick_ns"]) / 60e9
    seconds: float = stats_history[-1]["updated_at"] - stats_history[0]["updated_at"]
    return minutes / seconds
