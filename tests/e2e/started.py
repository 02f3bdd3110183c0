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

SERVERS = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL")


class Started:
    """Runs commands against one state folder. `ports` may be those of another one that is stopped."""

    def __init__(self, home: Path, ports: Ports | None = None) -> None:
        self.home = Home(home)
        self.ports = ports or Ports.free()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in SERVERS},
            **{port_variable(name): str(port) for name, port in vars(self.ports).items()},
            "PLATFORM_HOME": str(home),
            "PLATFORM_PYTHON_ENV": "current",
            "PYTHONPATH": str(REPOSITORY),
            "PLATFORM_DASHBOARD": "off",
        }

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    def cli(self, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.cli", *arguments],
            cwd=REPOSITORY,
            env={**self.environment, **environment},
            input=given,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def says(self, *arguments: str, status: int = 0, given: str = "", **environment: str) -> str:
        """What a command prints; it must end with this status."""
        done = self.cli(*arguments, given=given, **environment)
        assert done.returncode == status, f"{' '.join(arguments)}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        return done.stdout

    def tells(self, *arguments: str, status: int = 0) -> Any:
        """What a command prints with --json."""
        return json.loads(self.says(*arguments, "--json", status=status))

    def refuses(self, *arguments: str, status: int = 2, **environment: str) -> str:
        """The one sentence of a command that cannot do what it is asked."""
        done = self.cli(*arguments, **environment)
        assert done.returncode == status, f"{' '.join(arguments)}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        [line] = done.stderr.strip().splitlines()
        return line.removeprefix("error: ")


@contextmanager
def started(home: Path, *arguments: str) -> Iterator[Started]:
    """Runs while the block lasts."""
    platform = Started(home)
    try:
        platform.says("start", *arguments)
        yield platform
    finally:
        platform.cli("stop")
