"""`start`, `stop`, `restart` of the platform, and `service` for one of its services."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home, home_from_environment
from deploy.supervisor.start_options import StartOptions, load_options, save_options, validate_options
from deploy.supervisor.state import PlatformState, running_state

Feed = Annotated[str | None, typer.Option(help="Where bars come from: simulator, files, live, alpaca or polygon.")]
Bars = Annotated[list[Path] | None, typer.Option(help="CSV or Parquet files of bars, one or more.")]
MoreBars = Annotated[list[Path] | None, typer.Argument(hidden=True)]
Speed = Annotated[str | None, typer.Option(help="max, or so many times as fast as the clock.")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="A settings file of your own.")]
Broker = Annotated[str | None, typer.Option(help="Where orders go: simulated, alpaca or local-alpaca.")]
LiveAccount = Annotated[
    str | None, typer.Option(help="With TRADING_MODE=live: the number of the account whose real money is meant.")
]
Foreground = Annotated[bool, typer.Option("--foreground", help="Stay, and stop all on Ctrl-C.")]
Dev = Annotated[bool, typer.Option("--dev", help="Start services again when their code changes. Not for live trading.")]
Build = Annotated[bool, typer.Option("--build", help="Make the Python environment and the dashboard anew first.")]


def register(app: typer.Typer) -> None:
    app.command("start", help="Start everything, wait until it is healthy, and return.")(start)
    app.command("stop", help="Stop everything. The data stay.")(stop)
    app.command("restart", help="Stop, and start as the last time.")(restart)
    service = typer.Typer(help="Stop or start one service of the running platform.", no_args_is_help=True)
    service.command("stop")(stop_service)
    service.command("start")(start_service)
    app.add_typer(service, name="service")


def start(
    more_bars: MoreBars = None,
    feed: Feed = None,
    bars: Bars = None,
    speed: Speed = None,
    settings: SettingsFile = None,
    broker: Broker = None,
    live_account: LiveAccount = None,
    foreground: Foreground = False,
    dev: Dev = False,
    build: Build = False,
) -> None:
    # `--bars A B C`: a shell pattern makes several words of one, and only the first belongs to the option.
    if more_bars and not bars:
        raise DeployError(f"unexpected argument {more_bars[0]}; files of bars follow --bars")
    home = home_from_environment()
    _require_stopped(home)
    if live_account is None and os.environ.get("TRADING_MODE") == "live" and sys.stdin.isatty():
        typer.echo("TRADING_MODE=live: orders will trade real money.")
        live_account = typer.prompt("Type the number of the account that is meant")
    options = validate_options(
        feed, [*(bars or []), *(more_bars or [])], speed, settings, broker, live_account, dev=dev
    )
    if build:
        _rebuild(home)
    _start_platform(home, options, foreground=foreground)


def stop() -> None:
    from deploy.supervisor.start_progress import ProgressPrinter, stop_platform

    console = Console()
    home = home_from_environment()
    stopped = stop_platform(home, ProgressPrinter(console, running_state(home)))
    console.print("stopped" if stopped else "nothing was running")


def restart(foreground: Foreground = False) -> None:
    from deploy.supervisor.start_progress import ProgressPrinter, stop_platform

    home = home_from_environment()
    stop_platform(home, ProgressPrinter(Console(), running_state(home)))
    _start_platform(home, load_options(home), foreground=foreground)


def stop_service(name: str) -> None:
    """Stop one service and keep it stopped; the others go on."""
    from deploy.supervisor.control import stop_one

    stop_one(home_from_environment(), name)


def start_service(name: str) -> None:
    """Start a service that was stopped or has failed, and wait until it is healthy."""
    from deploy.supervisor.control import start_one

    start_one(home_from_environment(), name)


def _require_stopped(home: Home) -> None:
    state = running_state(home)
    if state is not None:
        raise DeployError(
            f"already running since its start as pid {state.supervisor_pid} ({state.phase}, {state.message}); "
            "`python cli.py status` shows it, `python cli.py restart` starts it anew"
        )


def _rebuild(home: Home) -> None:
    """The dashboard anew; the Python environment that this runs in was made by `deploy/bootstrap.py` just now."""
    from deploy.local import dashboard_bundle

    if os.environ.get("PLATFORM_PYTHON_ENV") == "current":
        typer.echo("PLATFORM_PYTHON_ENV=current: the Python environment is yours and stays as it is")
    if os.environ.get("PLATFORM_DASHBOARD") != "off":
        home.create_folders()
        dashboard_bundle.bundle(home, typer.echo, rebuild=True)


def _start_platform(home: Home, options: StartOptions, *, foreground: bool) -> None:
    from deploy.supervisor.start_progress import ProgressPrinter, follow_start, stop_platform

    home.create_folders()
    save_options(home, options)
    console = Console()
    show = ProgressPrinter(console)
    if foreground:
        from deploy.supervisor.supervisor import supervise

        summary_printed = False

        def watch(state: PlatformState) -> None:
            nonlocal summary_printed
            show(state)
            if state.phase == "running" and not summary_printed:
                summary_printed = True
                _print_summary(console, home, state)

        raise typer.Exit(supervise(home, watch))
    with (home.logs / "supervisor.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "deploy.supervisor.supervisor"],
            cwd=REPOSITORY,
            env={**os.environ, "PLATFORM_HOME": str(home.root), "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # survives this shell
        )
    try:
        state = follow_start(home, child, show)
    except (DeployError, KeyboardInterrupt):
        stop_platform(home, lambda state: None)
        raise
    _print_summary(console, home, state)


def _print_summary(console: Console, home: Home, state: PlatformState) -> None:
    """Where to look."""
    for line in state.degraded:
        console.print(f"DEGRADED: {line}", style="bold red", markup=False)
    lines = [
        "The platform runs, and starts services again when their code changes." if state.dev else "The platform runs.",
        f"  dashboard   {state.dashboard or f'none: {state.without_dashboard}'}",
        f"  API         {state.api}/docs",
        f"  health      {state.api}/health",
        f"  Kafka       {state.kafka}",
        f"  state, logs {home.root}",
        "  python cli.py status | logs SERVICE --follow | stop",
    ]
    if (home.secrets / "admin-password").exists():  # the API removes it when the password is changed
        lines.insert(3, f"  log in as   admin, one-time password in {home.secrets / 'admin-password'}")
    console.print("\n".join(lines), highlight=False, markup=False)
