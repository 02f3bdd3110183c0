"""`start`, `stop` and `restart` the platform, or a single service with `service`."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.errors import DeployError
from deploy.home import PRIVATE_UMASK, REPOSITORY, Home, home_from_environment
from deploy.service_names import resolve_service
from deploy.supervisor.start_options import (
    StartOptions,
    dropped_settings_note,
    load_options,
    save_options,
    validate_options,
)
from deploy.supervisor.state import PlatformState, running_state
from schemas.errors import BadInput

Feed = Annotated[str | None, typer.Option(help="Source of the bars: simulator, files, live, alpaca or polygon.")]
Bars = Annotated[list[Path] | None, typer.Option(help="CSV or Parquet bar files for --feed files; accepts several.")]
MoreBars = Annotated[list[Path] | None, typer.Argument(hidden=True)]
Speed = Annotated[str | None, typer.Option(help="Playback speed of --feed files: `max`, or a multiple of real time.")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Settings file. Its values override the default settings.")
]
Broker = Annotated[str | None, typer.Option(help="Broker for the orders: simulated, alpaca or local-alpaca.")]
LiveAccount = Annotated[
    str | None, typer.Option(help="Number of the real-money account to trade. Requires TRADING_MODE=live.")
]
LayoutName = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="Layout of the processes: `services` (one for each service) or `compact` (one for the nine services that "
        "make decisions). Default: the stored layout.",
    ),
]
Drain = Annotated[
    bool, typer.Option("--drain", help="Stop the feeds first, then wait until every service has processed their data.")
]
Foreground = Annotated[
    bool, typer.Option("--foreground", help="Run in the foreground, and stop the platform on Ctrl-C.")
]
Dev = Annotated[bool, typer.Option("--dev", help="Restart services when their code changes. Not for live trading.")]
Build = Annotated[bool, typer.Option("--build", help="Rebuild the Python environment and the dashboard first.")]

ServiceName = Annotated[str, typer.Argument(help="Service, as `status` prints it.")]


def register(app: typer.Typer) -> None:
    app.command("start", help="Start the platform in the background, and wait until it is healthy.")(start)
    app.command("stop", help="Stop the platform. Its data remains.")(stop)
    app.command("restart", help="Restart with the previous options.")(restart)
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
    layout: LayoutName = None,
    foreground: Foreground = False,
    dev: Dev = False,
    build: Build = False,
) -> None:
    # The shell expands `--bars *.csv` into several words. The option takes the first, `more_bars` the others.
    if more_bars and not bars:
        raise BadInput(f"unexpected argument {more_bars[0]}; list bar files after --bars")
    home = home_from_environment()
    _require_stopped(home)
    if live_account is None and os.environ.get("TRADING_MODE") == "live" and sys.stdin.isatty():
        typer.echo("TRADING_MODE=live: orders trade real money.")
        live_account = typer.prompt("Account number to trade")
    options = validate_options(
        feed, [*(bars or []), *(more_bars or [])], speed, settings, broker, live_account, dev=dev, layout=layout
    )
    _require_same_configuration(home, options)
    if note := dropped_settings_note(home, options):
        typer.echo(note, err=True)
    options = _with_recognized_bars(home, options)
    if build:
        _rebuild(home)
    _start_platform(home, options, foreground=foreground)


def _with_recognized_bars(home: Home, options: StartOptions) -> StartOptions:
    """Return the options with the interval and session of the bar files. Raises BadInput for files of several ones."""
    from configs.settings import load_settings
    from dataflows.sources.feed_selection import recognize_bars

    if not options.bars:
        return options
    settings = load_settings(environment={**os.environ, **options.environment(), "PLATFORM_HOME": str(home.root)})
    files, _ = recognize_bars(settings.market_data.files, settings.market_data.files.paths)
    return replace(options, bar_interval=files.bar_interval, session=files.session)


def stop(drain: Drain = False) -> None:
    from deploy.supervisor.start_progress import ProgressPrinter, stop_platform

    console = Console()
    home = home_from_environment()
    _warn_of_emulated_stops(console, home)
    if drain:
        from deploy.supervisor.drain import drain as drain_platform

        drain_platform(home, console.print)
    stopped = stop_platform(home, ProgressPrinter(console, running_state(home)))
    console.print("stopped" if stopped else "nothing was running")


def _warn_of_emulated_stops(console: Console, home: Home) -> None:
    """Print the open stops that do not work while the platform is stopped. Without a database, nothing is known."""
    from api.emulated_stops import emulated_stops
    from deploy.open_tables import open_tables
    from deploy.recovery.recorded_topics import platform_settings

    try:
        if running_state(home) is None or platform_settings(home, {}).execution.broker == "simulated":
            return
        with open_tables(home) as (_, db):
            order_ids = emulated_stops(db)
    except (BadInput, DeployError):
        return
    if order_ids:
        names = ", ".join(order_ids)
        line = f"warning: these stops work only while the platform runs, and are not at the broker: {names}"
        console.print(line, style="bold yellow", highlight=False, markup=False)


def restart(foreground: Foreground = False) -> None:
    from deploy.supervisor.start_progress import ProgressPrinter, stop_platform

    home = home_from_environment()
    stop_platform(home, ProgressPrinter(Console(), running_state(home)))
    _start_platform(home, load_options(home), foreground=foreground)


def stop_service(name: ServiceName) -> None:
    """Stop one service until it is started again. The other services keep running."""
    from deploy.supervisor.control import stop_one

    home = home_from_environment()
    stop_one(home, _running_service(home, name))


def start_service(name: ServiceName) -> None:
    """Start a stopped or failed service, and wait until it is healthy."""
    from deploy.supervisor.control import start_one

    home = home_from_environment()
    start_one(home, _running_service(home, name))


def _running_service(home: Home, text: str) -> str:
    """Return the service of the running platform that `text` means. Raises BadInput or DeployError."""
    from dataflows.runtime.topology import COMPACT
    from deploy.supervisor.layout import shared_services

    state = running_state(home)
    if state is None:
        raise DeployError(f"no platform is running in {home.root}; start it with `python cli.py start`")
    names = dict.fromkeys(name for child in state.children for name in (child.replica_of, child.name) if name)
    name = resolve_service(text, [*names, *shared_services(home)])
    if name not in names:
        raise BadInput(f"{name} runs in the process {COMPACT} and has none of its own; name {COMPACT}")
    return name


def _require_stopped(home: Home) -> None:
    state = running_state(home)
    if state is not None:
        raise DeployError(
            f"the platform is already running as pid {state.supervisor_pid} ({state.phase}, {state.message}); "
            "show it with `python cli.py status`, or restart it with `python cli.py restart`"
        )


def _require_same_configuration(home: Home, options: StartOptions) -> None:
    """Refuse options that the existing state cannot continue with, before they replace the stored options."""
    from configs.settings import load_settings
    from deploy.supervisor.state_check import require_same_configuration

    require_same_configuration(
        home, load_settings(environment={**os.environ, **options.environment(), "PLATFORM_HOME": str(home.root)})
    )


def _rebuild(home: Home) -> None:
    """Rebuild the dashboard. `deploy/bootstrap.py` has already rebuilt the Python environment of this process."""
    from deploy.local import dashboard_bundle

    if os.environ.get("PLATFORM_PYTHON_ENV") == "current":
        typer.echo("PLATFORM_PYTHON_ENV=current: the Python environment is not rebuilt")
    if os.environ.get("PLATFORM_DASHBOARD") != "off":
        home.create_folders()
        dashboard_bundle.bundle(home, typer.echo, rebuild=True)


def _start_platform(home: Home, options: StartOptions, *, foreground: bool) -> None:
    from deploy.backup.replaced_state import require_finished_restore
    from deploy.supervisor.start_progress import ProgressPrinter, stop_platform, wait_until_started

    require_finished_restore(home)
    os.umask(PRIVATE_UMASK)
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
            start_new_session=True,  # keeps running when this shell ends
        )
    try:
        state = wait_until_started(home, child, show)
    except (DeployError, KeyboardInterrupt):
        stop_platform(home, lambda state: None)
        raise
    _print_summary(console, home, state)


def _print_summary(console: Console, home: Home, state: PlatformState) -> None:
    """Print the overrides that this start dropped, the addresses of the platform and the next commands."""
    from deploy.supervisor.configuration_record import dropped_of_start

    for line in dropped_of_start(home.logs / "initialize.log"):
        console.print(line, style="bold yellow", markup=False, highlight=False, soft_wrap=True)
    for line in state.degraded:
        console.print(f"DEGRADED: {line}", style="bold red", markup=False)
    lines = [
        "The platform is running, and restarts services when their code changes."
        if state.dev
        else "The platform is running.",
        f"  dashboard   {state.dashboard or f'none: {state.without_dashboard}'}",
        f"  API         {state.api}/docs",
        f"  health      {state.api}/health",
        f"  Kafka       {state.kafka}",
        f"  state, logs {home.root}",
        "  python cli.py status | logs SERVICE --follow | stop",
    ]
    if (home.secrets / "admin-password").exists():  # the API deletes it when the password is changed
        lines.insert(3, f"  log in as   admin, one-time password in {home.secrets / 'admin-password'}")
    console.print("\n".join(lines), highlight=False, markup=False)
