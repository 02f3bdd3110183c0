"""`test-env`: keep test services running between test runs, with their own state folder and ports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from typing import Annotated

import typer

from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home, home_from_environment
from deploy.supervisor.processes import end_process, identify, tail
from deploy.testing.pytest_run import print_status, run_pytest, test_environment
from deploy.testing.services import read_state

SETUP_TIMEOUT_S = 180.0
AsJson = Annotated[bool, typer.Option("--json", help="Print the addresses, with passwords, as JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Manage test services that keep running between test runs.", no_args_is_help=True)
    group.command("setup", help="Start Kafka, PostgreSQL and Redis for tests in the background.")(setup)
    group.command(
        "run",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        help="Run the tests with these services. Further arguments are passed to pytest.",
    )(run)
    group.command("cleanup", help="Stop the services and delete their data.")(cleanup)
    app.add_typer(group, name="test-env")


def setup(as_json: AsJson = False) -> None:
    home = _test_home()
    running = read_state(home)
    if running is None:
        _start(home)
        running = read_state(home)
        assert running is not None, "_start waits until the services run"
    elif not as_json:
        print_status("the test services are already running")
    _, addresses = running
    if as_json:
        print(json.dumps(addresses, indent=2))
    else:
        print(f"test services are running in {home.root}; use `python cli.py test-env run`, then `test-env cleanup`")


def run(context: typer.Context) -> None:
    running = read_state(_test_home())
    if running is None:
        raise DeployError("no test environment is running; start it with `python cli.py test-env setup`")
    raise typer.Exit(run_pytest(test_environment(running[1]), list(context.args)))


def cleanup() -> None:
    home = _test_home()
    running = read_state(home)
    if running is not None and not end_process(running[0], timeout_s=60.0):
        raise DeployError(f"the test environment (pid {running[0].pid}) did not stop within 60 s and was killed")
    existed = home.root.exists()
    shutil.rmtree(home.root, ignore_errors=True)
    print(f"removed {home.root}" if existed else "there was no test environment")


def _test_home() -> Home:
    return Home(home_from_environment().root / "test-env")


def _start(home: Home) -> None:
    home.create_folders()
    log = home.logs / "test-env.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "deploy.testing.services", str(home.root)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # keeps running when this shell ends
        )
    deadline = time.monotonic() + SETUP_TIMEOUT_S
    try:
        while read_state(home) is None:
            if child.poll() is not None:
                raise DeployError(f"{tail(log).removeprefix('error: ')} (log: {log})")
            if time.monotonic() > deadline:
                raise DeployError(f"the test services did not start within {SETUP_TIMEOUT_S:.0f} s (log: {log})")
            time.sleep(0.1)
    except (DeployError, KeyboardInterrupt):
        identity = identify(child.pid) if child.poll() is None else None
        if identity is not None:
            end_process(identity, timeout_s=30.0)
        raise
