"""`alerts`: list the alerts, and send a test message to the channels."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.name_arguments import unknown_name
from schemas.errors import BadInput

IncludeResolved = Annotated[bool, typer.Option("--all", help="Include resolved alerts.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number of alerts.")]
ChannelName = Annotated[str | None, typer.Option("--channel", help="Send to this channel only.")]


def register(app: typer.Typer) -> None:
    alerts = typer.Typer(help="List alerts and test their channels.", no_args_is_help=True)
    alerts.command("list", help="List open alerts, newest first.")(list_alerts)
    alerts.command("test", help="Send a test message to every channel. Exit with status 1 if a channel fails.")(
        send_test
    )
    app.add_typer(alerts, name="alerts")


def list_alerts(include_resolved: IncludeResolved = False, limit: Limit = 100, as_json: AsJson = False) -> None:
    from api.alerting.outbox import Outbox
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services
    from sinks.database import open_engine

    home = home_from_environment()
    use_running_services(home)
    settings = platform_settings(home, {})
    outbox = Outbox(open_engine(settings.database.postgres.url), settings.alerts)
    rows: list[dict[str, Any]] = [
        dict(row) for row in outbox.list_alerts(include_resolved=include_resolved, limit=limit)
    ]
    if as_json:
        print(json.dumps(rows, indent=2, default=_text))
        return
    if not rows:
        print("no alerts" if include_resolved else "no open alerts")
        return
    table = Table("opened", "resolved", "severity", "alert", "summary", "sent", "pending", box=None, pad_edge=False)
    for row in rows:
        resolved = "-" if row["resolved_at"] is None else _text(row["resolved_at"])
        counts = (str(row["told"]), str(row["untold"]))
        table.add_row(_text(row["opened_at"]), resolved, row["severity"], row["key"], row["summary"], *counts)
    console = Console(highlight=False)
    console.width = max(console.width, 140)
    console.print(table)


def send_test(channel: ChannelName = None) -> None:
    from api.alerting.channels import AlertChannels
    from api.alerting.outbox import Message
    from deploy.recovery.recorded_topics import platform_settings

    settings = platform_settings(home_from_environment(), {})
    channels = AlertChannels(settings.alerts)
    names = [entry.name for entry in settings.alerts.channels if channel in (None, entry.name)]
    if not names:
        if channel is None:
            raise DeployError("no channels in configs/alerts.yaml; add one under `channels`")
        raise BadInput(unknown_name("channel", channel, [entry.name for entry in settings.alerts.channels]))
    failed = False
    for entry in settings.alerts.channels:
        if entry.name not in names:
            continue
        if not channels.address_count(entry.name):
            print(f"{entry.name}: no address; set it with `python cli.py secrets set {entry.secret}`")
            failed = True
            continue
        title, body = "info: test", "This is a test of the platform's alerts. No action is required."
        error = channels.send(
            Message(
                delivery_id=f"test/{entry.name}",
                channel=entry.name,
                severity="info",
                title=title,
                body=body,
                attempts=0,
            )
        )
        print(f"{entry.name}: {error or f'accepted by {channels.address_count(entry.name)} address(es)'}")
        failed |= error is not None
    raise typer.Exit(1 if failed else 0)


def _text(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat(timespec="seconds").replace("+00:00", "Z")
