"""pytest as a child that is given the addresses of the tests' own services."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping

from deploy.home import REPOSITORY


def test_environment(addresses: Mapping[str, str]) -> dict[str, str]:
    """Ours, with the services' addresses; PLATFORM_TEST_HOME says that they may be emptied."""
    return {
        **os.environ,
        **addresses,
        "PLATFORM_TEST_HOME": addresses["PLATFORM_HOME"],
        "PLATFORM_PYTHON_ENV": "current",
        # The tests of the dashboard ask for it by name; the others need not wait for its build.
        "PLATFORM_DASHBOARD": "off",
    }


def run_pytest(environment: Mapping[str, str], arguments: list[str]) -> int:
    """Run the tests that `arguments` name, or all; returns pytest's status."""
    positional = [argument for argument in arguments if not argument.startswith("-")]
    command = [sys.executable, "-m", "pytest", *([] if _has_test_paths(positional) else ["tests"]), *arguments]
    print_status("running " + " ".join(command[2:]))
    # A shell starts background jobs with SIGINT ignored, and Python would leave it so.
    child = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        # The terminal sent Ctrl-C to pytest too: let it print its summary.
        return child.wait()
    finally:
        if child.poll() is None:
            _interrupt(child)


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C would: tests that started processes of their own get to end them. SIGTERM gives pytest no time."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(60)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _has_test_paths(arguments: list[str]) -> bool:
    return any((REPOSITORY / argument.split("::")[0]).exists() for argument in arguments)


def print_status(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
