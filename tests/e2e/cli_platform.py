"""A platform that `python cli.py start` runs, with its own state folder and ports, for tests of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from configs.recorded_endpoints import ADDRESS_VARIABLES, CREDENTIAL_VARIABLES
from dataflows.runtime.topology import COMPACT
from deploy.home import REPOSITORY, TEST_RUN_VARIABLE, Home
from deploy.local.ports import Ports, port_variable
from deploy.supervisor.layout import shared_services
from deploy.testing.left_processes import end_left_processes, new_run

SERVER_VARIABLES = (*ADDRESS_VARIABLES, *CREDENTIAL_VARIABLES)


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
            TEST_RUN_VARIABLE: new_run(),
        }

    @property
    def viewer(self) -> dict[str, str]:
        """The options of the read-only Kafka client, from the file that `start` writes for tools such as kcat."""
        lines = (self.home.secrets / "kafka-viewer.conf").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @cached_property
    def database_url(self) -> str:
        """The URL that the API uses. It stays the same when the platform restarts."""
        return self.run("exec", "api", "printenv", "DATABASE_URL").strip()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    def process_of(self, service: str) -> str:
        """Return the name of the process that runs a service. In the layout `compact`, several services share one."""
        return COMPACT if service in shared_services(self.home) else service

    def cli(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.cli", *arguments],
            cwd=REPOSITORY,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def discard(self) -> None:
        """Kill all processes of the platform. An orderly stop takes 20 seconds of processor time that no test needs."""
        end_left_processes(self.environment[TEST_RUN_VARIABLE])

    def run(self, *arguments: str, status: int = 0, stdin: str = "", **environment: str) -> str:
        """Return the standard output of a command. Fail if the exit code is not `status`."""
        completed = self.cli(*arguments, stdin=stdin, **environment)
        assert completed.returncode == status, (
            f"{' '.join(arguments)}: {_differences(completed.stdout)} {completed.stdout[-2000:]} "
            f"{completed.stderr[-2000:]}"
        )
        return completed.stdout

    def run_json(self, *arguments: str, status: int = 0) -> Any:
        """Return the parsed output of a command with `--json`."""
        return json.loads(self.run(*arguments, "--json", status=status))

    def verify(self) -> Any:
        """Return the result of `verify`, which waits two minutes for services that are behind on a busy machine."""
        return self.run_json("verify", "--wait", "120")

    def run_error(self, *arguments: str, status: int = 2, **environment: str) -> str:
        """Return the one-sentence error message of a command that must fail with this exit code."""
        completed = self.cli(*arguments, **environment)
        assert completed.returncode == status, (
            f"{' '.join(arguments)}: {completed.stdout[-2000:]} {completed.stderr[-2000:]}"
        )
        [line] = completed.stderr.strip().splitlines()
        return line.removeprefix("error: ")


def _differences(output: str) -> list[dict[str, Any]]:
    """Return the checks of `verify --json` that found a difference. Its output is too long for a test report."""
    try:
        checks = json.loads(output)["checks"]
    except (ValueError, KeyError, TypeError):
        return []
    return [check for check in checks if check.get("difference")]


@contextmanager
def started_platform(home: Path, *arguments: str) -> Iterator[CliPlatform]:
    """Start a platform and discard it at the end of the block."""
    platform = CliPlatform(home)
    try:
        platform.run("start", *arguments)
        yield platform
    finally:
        platform.discard()
