"""A platform as `python cli.py start` runs it, with a state folder and ports of its own: tests of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.home import REPOSITORY, Home
from deploy.local.endpoints import Ports, port_variable

SERVER_VARIABLES = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL")


class CliPlatform:
    """Runs commands against one state folder. `ports` may be those of another one that is stopped."""

    def __init__(self, home: Path, ports: Ports | None = None) -> None:
        self.home = Home(home)
        self.ports = ports or Ports.free()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in SERVER_VARIABLES},
            **{port_variable(name): str(port) for name, port in vars(self.ports).items()},
            "PLATFORM_HOME": str(home),
            "PLATFORM_PYTHON_ENV": "current",
            "PYTHONPATH": str(REPOSITORY),
            "PLATFORM_DASHBOARD": "off",
        }

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    def cli(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.cli", *arguments],
            cwd=REPOSITORY,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def run(self, *arguments: str, status: int = 0, stdin: str = "", **environment: str) -> str:
        """What a command prints; it must end with this status."""
        completed = self.cli(*arguments, stdin=stdin, **environment)
        assert completed.returncode == status, (
            f"{' '.join(arguments)}: {completed.stdout[-2000:]} {completed.stderr[-2000:]}"
        )
        return completed.stdout

    def run_json(self, *arguments: str, status: int = 0) -> Any:
        """What a command prints with --json."""
        return json.loads(self.run(*arguments, "--json", status=status))

    def run_error(self, *arguments: str, status: int = 2, **environment: str) -> str:
        """The one sentence of a command that cannot do what it is asked."""
        completed = self.cli(*arguments, **environment)
        assert completed.returncode == status, (
            f"{' '.join(arguments)}: {completed.stdout[-2000:]} {completed.stderr[-2000:]}"
        )
        [line] = completed.stderr.strip().splitlines()
        return line.removeprefix("error: ")


@contextmanager
def started_platform(home: Path, *arguments: str) -> Iterator[CliPlatform]:
    """Runs while the block lasts."""
    platform = CliPlatform(home)
    try:
        platform.run("start", *arguments)
        yield platform
    finally:
        platform.cli("stop")
