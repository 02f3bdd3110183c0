"""`test`: all tests against their own copy of the services, on other ports, under a temporary home."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from deploy.home import REPOSITORY, Home


def register(app: typer.Typer) -> None:
    app.command(
        "test",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        help="Run the tests with their own services; further arguments go to pytest.",
    )(test)


def test(
    context: typer.Context,
    long: Annotated[bool, typer.Option("--long", help="Also the tests that take minutes.")] = False,
) -> None:
    # The services belong to this process: it must clean up on whatever ends it.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    folder = Path(tempfile.mkdtemp(prefix="trading-test-"))
    try:
        status = _run_with_services(Home(folder), [*(["--long"] if long else []), *context.args])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(status)


def _run_with_services(home: Home, arguments: list[str]) -> int:
    from deploy.local.endpoints import Ports
    from deploy.local.stack import running_stack

    # An empty environment: tests create and drop databases, so they never get the user's own servers.
    with running_stack(home, Ports.free(), _say, environ={}) as stack:
        environment = {
            **os.environ,
            **stack.endpoints.environment(home),
            "PLATFORM_TEST_HOME": str(home.root),
            "PLATFORM_PYTHON_ENV": "current",
            # The tests of the dashboard ask for it by name; the others need not wait for its build.
            "PLATFORM_DASHBOARD": "off",
        }
        chosen = [argument for argument in arguments if not argument.startswith("-")]
        command = [sys.executable, "-m", "pytest", *([] if _names_tests(chosen) else ["tests"]), *arguments]
        _say("running " + " ".join(command[2:]))
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
                _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C would: tests that started processes of their own get to end them. SIGTERM gives pytest no time."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(60)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _names_tests(arguments: list[str]) -> bool:
    return any((REPOSITORY / argument.split("::")[0]).exists() for argument in arguments)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
