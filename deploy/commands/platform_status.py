"""`status` and `health-check`: print the state of the services, and check that they respond."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.dataflow_stats import AppliedConfiguration, applied_configurations
from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.supervisor.state import ChildState, ChildStatus, PlatformState, read_state

if TYPE_CHECKING:
    from deploy.disk_usage import DiskUsage

_LARGEST = 12
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ALERTS_AGE_MAX_S = 60.0
"""A round of the process `alerts` can wait for a slow channel. An older report is outdated."""
_COUNT_FIELDS = {
    "in": "records_in",
    "out": "records_out",
    "dead letters": "dead_letters",
    "late": "late_records",
    "duplicates": "duplicates",
    "gaps": "seq_gaps",
}
_STYLES = {
    ChildStatus.HEALTHY: "green",
    ChildStatus.STOPPED: "dim",
    ChildStatus.FAILED: "bold red",
    ChildStatus.SUSPENDED: "bold red",
    ChildStatus.UNHEALTHY: "red",
}


def register(app: typer.Typer) -> None:
    app.command("status", help="Print the state of every service, open alerts and failed checks.")(status)
    app.command("health-check", help="Check that every service responds. Exit with status 1 if one does not.")(health)


def status(
    detailed: Annotated[
        bool,
        typer.Option(
            "--detailed", help="Add record counts, dead letters, memory, all scheduled checks and the use of the disk."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    home = home_from_environment()
    state = read_state(home)
    running = state is not None and state.supervisor.alive()
    if as_json:
        tree: dict[str, object] = {"running": running, **(_as_tree(home, state) if state else {})}
        if detailed and home.root.exists():
            tree["disk"] = _disk_usage(home)._asdict()
        print(json.dumps(tree, indent=2))
    elif state is None:
        print(f"the platform was never started in {home.root}")
    elif not running:
        print(_not_running(state))
    else:
        _show(home, state, detailed=detailed)
    raise typer.Exit(0 if running else 3)


def _not_running(state: PlatformState) -> str:
    remaining = [child.name for child in state.children if child.identity is not None and child.identity.alive()]
    if remaining:
        return (
            f"the supervisor has ended, but {', '.join(remaining)} still run; "
            "take them over with `python cli.py start`, or stop them with `python cli.py stop`"
        )
    return f"not running ({state.phase}: {state.message})"


def _as_tree(home: Home, state: PlatformState) -> dict[str, object]:
    from deploy.supervisor.probes import read_stats
    from deploy.supervisor.scheduled_checks import read_results

    tree = asdict(state if state.is_current() else _with_unknown_children(state))
    tree["checks"] = read_results(home)
    tree["alerts"] = read_open_alerts(home)
    for child in tree["children"]:
        child["stats"] = read_stats(home.stats / f"{child['name']}.json")
    return tree


def _show(home: Home, state: PlatformState, *, detailed: bool) -> None:
    from deploy.supervisor.probes import read_stats

    if not state.is_current():
        age = f"reported {state.age_s():.0f} s ago" if state.age_s() < float("inf") else "has no valid report"
        print(f"the supervisor (pid {state.supervisor_pid}) {age}: the state of the services is unknown")
        state = _with_unknown_children(state)
    console = Console()
    # A line longer than the terminal is better than a truncated number.
    console.width = max(console.width, 130)
    for line in state.degraded:
        console.print(f"DEGRADED: {line}", style="bold red", markup=False)
    if state.dev:
        console.print("dev mode: dataflows, the API and alerts restart when their code changes", style="cyan")
    layout = f"   layout {state.layout}" if state.layout else ""
    addresses = f"API {state.api}   Kafka {state.kafka}" + (
        f"   dashboard {state.dashboard}" if state.dashboard else ""
    )
    console.print(f"{state.phase}: {state.message}{layout}   {addresses}", highlight=False)
    table = Table(box=None, pad_edge=False)
    counts = (*_COUNT_FIELDS, "clock (UTC)", "config", "MB") if detailed else ()
    for title in ("service", "state", "pid", "restarts", *counts):
        table.add_column(title, no_wrap=True)
    table.add_column("reason", overflow="fold")
    reports = {child.name: read_stats(home.stats / f"{child.name}.json") or {} for child in state.children}
    applied = applied_configurations(reports) if detailed else {}
    for child in state.children:
        row = [child.name, str(child.status), str(child.pid or "-"), str(child.restarts)]
        if detailed:
            stats = reports[child.name]
            row += [str(stats.get(count, "-")) for count in _COUNT_FIELDS.values()]
            row += [_clock(stats.get("last_tick_ns")), _configuration(applied.get(child.name)), _memory_mb(child)]
        table.add_row(*row, child.reason or "", style=_STYLES.get(child.status, "yellow"))
    console.print(table)
    for line in _behind_lines(applied):
        console.print(line, style="yellow", highlight=False, markup=False)
    _show_alerts(console, home, state)
    _show_checks(console, home, failed_only=not detailed)
    if detailed:
        _show_disk(console, _disk_usage(home))


def _configuration(applied: AppliedConfiguration | None) -> str:
    """Return the number of the configuration that a service has applied; `-` if it applies none."""
    return "-" if applied is None else f"{applied.number} behind" if applied.is_behind else str(applied.number)


def _behind_lines(applied: Mapping[str, AppliedConfiguration]) -> list[str]:
    """Return a line for each service that has not applied the newest configuration."""
    newest = max((one.number for one in applied.values()), default=0)
    return [
        f"{service} has applied {one.configuration_id} since the time slice at {_clock(one.since_ns)}; "
        f"the newest is config-{newest}"
        for service, one in applied.items()
        if one.is_behind
    ]


def _with_unknown_children(state: PlatformState) -> PlatformState:
    """Return the state as a supervisor that does not report leaves it: nothing is known of the processes."""
    children = tuple(replace(child, status=ChildStatus.UNKNOWN, reason=None) for child in state.children)
    return replace(state, message="the supervisor does not report", children=children)


def read_open_alerts(home: Home) -> list[dict[str, str]] | None:
    """Return the open alerts, each with severity, name and summary. None if the process `alerts` does not report."""
    try:
        document = json.loads((home.run / "alerts.json").read_text())
        alerts, age_s = list(document["alerts"]), time.time() - float(document["updated_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return alerts if abs(age_s) <= ALERTS_AGE_MAX_S else None


def _show_alerts(console: Console, home: Home, state: PlatformState) -> None:
    if state.child("alerts") is None:
        return
    alerts = read_open_alerts(home)
    if alerts is None:
        console.print("alerts: unknown, because the process alerts does not report", style="yellow", markup=False)
        return
    for alert in alerts:
        style = "bold red" if alert["severity"] == "critical" else "yellow"
        line = f"alert {alert['severity']} {alert['name']}: {alert['summary']}"
        console.print(line, style=style, highlight=False, markup=False)


def _show_checks(console: Console, home: Home, *, failed_only: bool) -> None:
    """Print the last result of each scheduled check and job, or only of those that failed."""
    from deploy.supervisor.scheduled_checks import read_results

    results = [row for row in read_results(home) if not (failed_only and row["ok"])]
    if not results:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("check", "result", "finished (UTC)", "seconds", "counts", "message"):
        table.add_column(title, no_wrap=title != "message")
    for row in results:
        finished = _clock(int(row["finished_at"] * 1e9))
        counts = ", ".join(f"{number} {what}" for what, number in row["counts"].items())
        result = "ok" if row["ok"] else "FINDING" if row["counts"].get("findings") else "FAILED"
        table.add_row(row["name"], result, finished, f"{row['duration_s']:.1f}", counts, row["message"])
    console.print()
    console.print(table)


def _disk_usage(home: Home) -> DiskUsage:
    from configs.recorded_endpoints import read_endpoints
    from deploy.disk_usage import read_disk_usage

    return read_disk_usage(home, os.environ.get("DATABASE_URL") or read_endpoints(home.secrets).get("DATABASE_URL"))


def _show_disk(console: Console, usage: DiskUsage) -> None:
    from deploy.disk_usage import disk_line, largest

    console.print()
    console.print(disk_line(usage), highlight=False)
    table = Table(box=None, pad_edge=False)
    columns: list[list[tuple[str, int]]] = []
    for title, sizes in (("topic", usage.topics), ("table", usage.tables), ("folder", usage.folders)):
        table.add_column(title, no_wrap=True)
        table.add_column("MB", justify="right", no_wrap=True)
        columns.append([("unknown", -1)] if sizes is None else largest(sizes, _LARGEST))
    for row in zip_longest(*columns, fillvalue=("", -1)):
        table.add_row(*(text for name, size in row for text in (name, "" if size < 0 else f"{size / 1e6:,.1f}")))
    console.print(table)


def _clock(ns: object) -> str:
    """Format the event time that a dataflow has reached; `-` if there is none."""
    if not isinstance(ns, int) or ns <= 0:
        return "-"
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _memory_mb(child: ChildState) -> str:
    """Return the resident memory of the process in MB; `-` if it does not run or belongs to another user."""
    import psutil

    if child.pid is None:
        return "-"
    try:
        return f"{psutil.Process(child.pid).memory_info().rss / 1e6:.0f}"
    except psutil.Error:
        return "-"


def health(as_json: AsJson = False) -> None:
    from deploy.supervisor.takeover import survivors

    home = home_from_environment()
    state = read_state(home)
    alone = state is not None and not state.supervisor.alive() and bool(survivors(state))
    if state is None or not (state.supervisor.alive() or alone):
        raise DeployError(f"no platform is running in {home.root}; start it with `python cli.py start`")
    reasons = {child.name: _probe_child(home, state, child) for child in state.children}
    if not state.is_current():
        reasons["supervisor"] = "not running" if alone else f"last report {state.age_s():.0f} s ago"
    unhealthy = {name: reason for name, reason in reasons.items() if reason is not None}
    if as_json:
        print(json.dumps({"healthy": not unhealthy, "degraded": list(state.degraded), "services": reasons}, indent=2))
    else:
        for line in state.degraded:
            print(f"DEGRADED: {line}")
        for name, reason in reasons.items():
            print(f"{name:12} {'healthy' if reason is None else reason}")
    raise typer.Exit(1 if unhealthy else 0)


def _probe_child(home: Home, state: PlatformState, child: ChildState) -> str | None:
    """Probe a service as the supervisor does. Return None if it is healthy, else the reason."""
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.platform_services import alerts_probe
    from deploy.supervisor.probes import DataflowProbe, HttpProbe, KafkaProbe, PostgresProbe, RedisProbe
    from deploy.supervisor.process_spec import HealthProbe

    addresses = json.loads((home.secrets / "endpoints.json").read_text())
    kafka = platform_settings(home, {"KAFKA_BOOTSTRAP_SERVERS": addresses["KAFKA_BOOTSTRAP_SERVERS"]}).kafka
    services: dict[str, HealthProbe] = {
        "kafka": KafkaProbe(kafka.cluster),
        "postgres": PostgresProbe(addresses["DATABASE_URL"]),
        "redis": RedisProbe(addresses["REDIS_URL"]),
        "api": HttpProbe(f"{state.api}/health"),
        "dashboard": HttpProbe(f"{state.dashboard}/"),
        # It sleeps between its checks, so a live process is healthy. `status --detailed` prints the results.
        "checks": lambda pid: None,
        "alerts": alerts_probe(home),
    }
    if child.pid is None and not child.external:
        return f"{child.status}: {child.reason}" if child.reason else str(child.status)
    probe = services.get(child.name) or DataflowProbe(home.stats / f"{child.name}.json")
    return probe(child.pid or 0)
