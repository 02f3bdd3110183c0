"""`metrics`: print the figures of the API's `/metrics` page as tables."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table

from configs.secrets import secret
from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.performance.metrics_page import MetricsSnapshot, fetch_page, parse_metrics
from deploy.supervisor.state import running_state

Watch = Annotated[bool, typer.Option("--watch", help="Refresh the figures until Ctrl-C.")]
Interval = Annotated[float, typer.Option(min=0.2, help="Seconds between the refreshes of --watch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; with --watch, one object per line.")]
Url = Annotated[
    str | None, typer.Option(help="Address of another API, such as http://host:port (default: this platform's API).")
]


def register(app: typer.Typer) -> None:
    app.command("metrics", help="Print the Prometheus metrics of the services, the API and the database.")(metrics)


def metrics(watch: Watch = False, interval: Interval = 2.0, as_json: AsJson = False, url: Url = None) -> None:
    api = (url or _running_api()).rstrip("/")
    console = Console(highlight=False)
    token = secret("METRICS_TOKEN") or (None if url else _generated_token())
    try:
        while True:
            snapshot = parse_metrics(fetch_page(api, token))
            if as_json:
                print(json.dumps(snapshot.tree(), indent=None if watch else 2), flush=True)
            else:
                if watch:
                    console.clear()
                # A line longer than the terminal is better than a truncated figure.
                console.width = max(console.width, 40 + 20 * len(snapshot.by_service))
                console.print(Group(*render_tables(snapshot)))
            if not watch:
                return
            time.sleep(interval)
    except KeyboardInterrupt:
        return


def _generated_token() -> str:
    """Return the token that the API of this state folder generated. Raises DeployError if it cannot be read."""
    from api.metrics_token import METRICS_TOKEN_FILE

    path = home_from_environment().secrets / METRICS_TOKEN_FILE
    try:
        return path.read_text().strip()
    except OSError as error:
        raise DeployError(f"cannot read the metrics token {path}: {error.strerror}; is the API running?") from error


def _running_api() -> str:
    home = home_from_environment()
    state = running_state(home)
    if state is None or not state.api:
        raise DeployError(f"no platform is running in {home.root}; use --url for the API of another one")
    return state.api


def render_tables(snapshot: MetricsSnapshot) -> list[RenderableType]:
    """Return the tables: metrics by service, histograms that are not empty, and single values."""
    renderables: list[RenderableType] = []
    if snapshot.by_service:
        names = sorted({name for row in snapshot.by_service.values() for name in row})
        # One row per metric: there are more metrics than services, and their names are long.
        table = Table(box=None, pad_edge=False)
        table.add_column("metric", no_wrap=True, min_width=36)
        for service in snapshot.by_service:
            table.add_column(service, justify="right", no_wrap=True)
        for name in names:
            cells = (row.get(name) for row in snapshot.by_service.values())
            table.add_row(name, *("-" if value is None else format_value(name, value) for value in cells))
        renderables.append(table)
    if counted_histograms := {key: histogram for key, histogram in snapshot.histograms.items() if histogram.counted}:
        table = Table("histogram", "labels", box=None, pad_edge=False)
        for title in ("count", "mean", "p50", "p99"):
            table.add_column(title, justify="right")
        for (name, labels), histogram in counted_histograms.items():
            times = (format_value(name, value) for value in (histogram.mean, histogram.p50, histogram.p99))
            table.add_row(name, _labels(labels), f"{histogram.counted:,}", *times)
        renderables += ["", table]
    if snapshot.values:
        table = Table("value", "labels", "", box=None, pad_edge=False)
        for (name, labels), value in snapshot.values.items():
            table.add_row(name, _labels(labels), format_number(value))
        renderables += ["", table]
    return renderables


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    return " ".join(f"{name}={value}" for name, value in labels)


def format_number(value: float) -> str:
    """
    >>> format_number(1234567.0), format_number(0.25), format_number(1.7637e18)
    ('1,234,567', '0.25', '1,763,700,000,000,000,000')
    """
    return f"{value:,.0f}" if math.isfinite(value) and value == int(value) else f"{value:,.4g}"


def format_value(name: str, value: float) -> str:
    """Format a value by the unit at the end of the metric's name.

    >>> format_value("request_seconds", 0.0025), format_value("rows", 12.0), format_value("last_tick_ns", 60e9)
    ('2.5 ms', '12', '1970-01-01 00:01:00')
    """
    if name.endswith("_ns") and value > 0:
        return datetime.fromtimestamp(value / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{value * 1e3:.3g} ms" if name.endswith("_seconds") and value < 1 else format_number(value)
