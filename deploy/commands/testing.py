"""`test`: run the tests with their own Kafka, PostgreSQL and Redis, on free ports in a temporary state folder."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from deploy.home import Home, home_from_environment
from deploy.testing.pytest_run import KAFKA_JVM_OPTIONS, print_status, run_pytest, test_environment

COVERAGE_TARGET = 95.0
"""Target line coverage in per cent. It is printed beside the result and not enforced."""


def register(app: typer.Typer) -> None:
    app.command(
        "test",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        help="Run the tests on temporary servers. Further arguments are passed to pytest.",
    )(run_tests)


def run_tests(
    context: typer.Context,
    long: Annotated[bool, typer.Option("--long", help="Include the tests that take minutes.")] = False,
    coverage: Annotated[bool, typer.Option("--coverage", help="Measure line coverage.")] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Number of parallel test processes; 1 runs the tests one by one."),
    ] = None,
) -> None:
    # The services belong to this process, so it must stop them on any signal.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    folder = Path(tempfile.mkdtemp(prefix="trading-test-"))
    arguments = [*(["--long"] if long else []), *context.args]
    coverage_folder = home_from_environment().root / "coverage"
    try:
        status = _run_with_services(Home(folder), arguments, workers, coverage_folder if coverage else None)
    finally:
        print_status("removing the files of the services")
        shutil.rmtree(folder, ignore_errors=True)
    if coverage:
        print_status(_coverage_line(coverage_folder))
    raise typer.Exit(status)


def _run_with_services(home: Home, arguments: list[str], workers: int | None, coverage_folder: Path | None) -> int:
    from deploy.local.kafka.broker import JVM_OPTIONS_VARIABLE, prepare_fast_starts
    from deploy.local.ports import Ports
    from deploy.local.stack import running_stack

    os.environ[JVM_OPTIONS_VARIABLE] = KAFKA_JVM_OPTIONS
    # Tests create and drop databases. The empty environment keeps them away from the user's own servers.
    with running_stack(home, Ports.free(), print_status, environ={}, discard=True) as stack:
        if not stack.endpoints.substitute_kafka:
            prepare_fast_starts(home, print_status)
        environment: Mapping[str, str] = test_environment(stack.endpoints.environment(home), temporary=True)
        if coverage_folder is not None:
            shutil.rmtree(coverage_folder, ignore_errors=True)
            coverage_folder.mkdir(parents=True)
            # The path is absolute because processes that tests start run in other folders.
            environment = {**environment, "COVERAGE_FILE": str(coverage_folder / "data")}
        return run_pytest(environment, arguments, workers=workers, coverage=coverage_folder)


def _coverage_line(folder: Path) -> str:
    try:
        percent = json.loads((folder / "coverage.json").read_text())["totals"]["percent_covered"]
    except (OSError, ValueError, KeyError):
        return "no coverage: pytest ended before it wrote the coverage file"
    page = folder / "html" / "index.html"
    return f"line coverage {percent:.1f} % (target {COVERAGE_TARGET:.0f} %); report: {page}"


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
