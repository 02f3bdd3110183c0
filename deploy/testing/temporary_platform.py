"""Run a temporary platform for measurements, with its own state folder, free ports and a synthetic market."""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from configs.recorded_endpoints import ADDRESS_VARIABLES, CREDENTIAL_VARIABLES
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local.ports import Ports, port_variable
from deploy.run_program import last_error_line, run_program

SYMBOL_COUNT = 5
SETTINGS = {
    "market_data": {"files": {"calendar": "24/7"}},
    # Short averages cross often and produce many orders.
    "signals": {"strategies": [{"name": "ema_cross", "parameters": {"fast": 3, "slow": 8, "rsi_max": 100.0}}]},
}
_SERVER_VARIABLES = (*ADDRESS_VARIABLES, *CREDENTIAL_VARIABLES)


class TemporaryPlatform(NamedTuple):
    """A platform that runs until the end of a block."""

    home: Home
    api_url: str


@contextmanager
def temporary_platform(minutes: int, speed: float) -> Iterator[Home]:
    """Run a platform until the block ends: `minutes` one-minute bars of five symbols, at `speed` times real time.

    Raises DeployError if it does not start or stop.
    """
    with tempfile.TemporaryDirectory(prefix="trading-benchmark-") as folder:
        files = [
            str(write_random_walk(Path(folder) / f"S{number}.csv", minutes, number)) for number in range(SYMBOL_COUNT)
        ]
        feed = ["--feed", "files", "--speed", str(speed), "--bars", *files]
        with run_temporary_platform(Path(folder), SETTINGS, feed) as platform:
            yield platform.home


@contextmanager
def run_temporary_platform(
    folder: Path, settings: Mapping[str, Any], options: Sequence[str], variables: Mapping[str, str] | None = None
) -> Iterator[TemporaryPlatform]:
    """Run a platform below `folder` until the block ends, with these settings, options of `start` and variables.

    Raises DeployError if it does not start or stop.
    """
    home, ports = Home(folder / "home"), Ports.free()
    settings_file = folder / "settings.json"
    settings_file.write_text(json.dumps(settings))  # JSON is YAML
    environment = {
        **{name: value for name, value in os.environ.items() if name not in _SERVER_VARIABLES},
        **{port_variable(name): str(port) for name, port in vars(ports).items()},
        "PLATFORM_HOME": str(home.root),
        "PLATFORM_DASHBOARD": "off",
        "PYTHONPATH": str(REPOSITORY),
        **(variables or {}),
    }
    try:
        _run(["start", "--settings", str(settings_file), *options], environment)
        yield TemporaryPlatform(home, f"http://127.0.0.1:{ports.api}")
    finally:
        _run(["stop"], environment)


def write_random_walk(file: Path, minutes: int, seed: int) -> Path:
    """Write a seeded random walk of one-minute bars to a CSV file, and return the file."""
    generator, close = random.Random(seed), 100.0  # noqa: S311 - a market, not a secret
    rows = ["timestamp,open,high,low,close,volume\n"]
    for number in range(minutes):
        open_price, close = close, round(max(1.0, close * (1 + generator.gauss(0, 0.001))), 2)
        high, low = round(max(open_price, close) + 0.02, 2), round(min(open_price, close) - 0.02, 2)
        time = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        rows.append(f"{time:%Y-%m-%dT%H:%M:%SZ},{open_price},{high},{low},{close},{generator.randint(1000, 9000)}\n")
    file.write_text("".join(rows))
    return file


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "deploy.cli", *arguments]
    error = run_program(command, cwd=REPOSITORY, environment=environment, error_line=last_error_line).error
    if error is not None:
        raise DeployError(f"the temporary platform failed to {arguments[0]}: {error.removeprefix('error: ')}")
