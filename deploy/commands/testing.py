"""`run_tests`: all tests against their own copy of the services, on other ports, under a temporary home."""

import json
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from deploy.home import Home, home_from_environment
from deploy.testing.pytest_run import print_status, run_pytest, test_environment

COVERAGE_TARGET = 95.0
"""Per cent of lines that tests should reach. Printed beside what they do reach, not asserted."""


def register(app: typer.Typer) -> None:
    app.command(
        "test",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        help="Run the tests with their own services; further arguments go to pytest.",
    )(run_tests)


def run_tests(
    context: typer.Context,
    long: Annotated[bool, typer.Option("--long", help="Also the tests that take minutes.")] = False,
    coverage: Annotated[bool, typer.Option("--coverage", help="Say which lines the tests reach.")] = False,
) -> None:
    # The services belong to this process: it must clean up on whatever ends it.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    folder = Path(tempfile.mkdtemp(prefix="trading-test-"))
    arguments = [*(["--long"] if long else []), *context.args]
    coverage_folder = home_from_environment().root / "coverage"
    try:
        status = _run_with_services(Home(folder), arguments, coverage_folder=coverage_folder if coverage else None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if coverage:
        print_status(_coverage_line(coverage_folder))
    raise typer.Exit(status)


def _run_with_services(home: Home, arguments: list[str], *, coverage_folder: Path | None) -> int:
    from deploy.local.endpoints import Ports
    from deploy.local.stack import running_stack

    # An empty environment: tests create and drop databases, so they never get the user's own servers.
    with running_stack(home, Ports.free(), print_status, environ={}) as stack:
        environment: Mapping[str, str] = test_environment(stack.endpoints.environment(home))
        if coverage_folder is not None:
            shutil.rmtree(coverage_folder, ignore_errors=True)
            coverage_folder.mkdir(parents=True)
            # Absolute: processes that tests start add to it from whatever folder they are in.
            environment = {**environment, "COVERAGE_FILE": str(coverage_folder / "data")}
            arguments = ["--cov", "--cov-report=term:skip-covered", *_reports(coverage_folder), *arguments]
        return run_pytest(environment, arguments)


def _reports(folder: Path) -> list[str]:
    return [f"--cov-report=html:{folder / 'html'}", f"--cov-report=json:{folder / 'coverage.json'}"]


def _coverage_line(folder: Path) -> str:
    try:
        percent = json.loads((folder / "coverage.json").read_text())["totals"]["percent_covered"]
    except (OSError, ValueError, KeyError):
        return "no coverage was taken: pytest ended before it wrote any"
    page = folder / "html" / "index.html"
    return f"the tests reach {percent:.1f} % of the lines (target {COVERAGE_TARGET:.0f} %); line by line: {page}"


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
