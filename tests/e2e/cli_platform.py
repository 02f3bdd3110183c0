"""A platform that `python cli.py start` runs, with its own state folder and ports, for tests of the command line."""

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
    """Runs commands against one state folder. `ports` may be the ports of another platform that is stopped."""

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
        """Return the standard output of a command. Fail if the exit code is not `status`."""
        completed = self.cli(*arguments, stdin=stdin, **environment)
        assert completed.returncode == status, (
            f"{' '.join(arguments)}: {completed.stdout[-2000:]} {completed.stderr[-2000:]}"
        )
        return completed.stdout

    def run_json(self, *arguments: str, status: int = 0) -> Any:
        """Return the parsed output of a command with `--json`."""
        return json.loads(self.run(*arguments, "--json", status=status))

    def run_error(self, *arguments: str, status: int = 2, **environment: str) -> str:
        """Return the one-sentence error message of a command that must fail with this exit code."""
        completed = self.cli(*arguments, **environment)
        assert completed.returncode == status, (
            f"{' '.join(arguments)}: {completed.stdout[-2000:]} {completed.stderr[-2000:]}"
        )
        [line] = completed.stderr.strip().splitlines()
        return line.removeprefix("error: ")


@contextmanager
def started_platform(home: Path, *arguments: str) -> Iterator[CliPlatform]:
    """Start a platform and stop it at the end of the block."""
    platform = CliPlatform(home)
    try:
        platform.run("start", *arguments)
        yield platform
    finally:
        platform.cli("stop")
