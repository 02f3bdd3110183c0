"""`security`: scanners, known vulnerabilities, a checklist of the real settings, and who did what."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.time_arguments import since_seconds

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from configs.settings import Settings
    from deploy.security.scanners import Scan

OsvUrl = Annotated[str | None, typer.Option(help="An OSV server of your own to ask about vulnerabilities.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Scanners, checklist and audit.", no_args_is_help=True)
    group.command("scan", help="Code, secrets in the tree, known vulnerabilities, bill of materials.")(scan)
    group.command("vulnerabilities", help="Known vulnerabilities of the locked packages.")(vulnerabilities)
    group.command("compliance", help="A checklist of the settings and the state as they are.")(compliance)
    group.command("audit", help="Who did what, when, and what came of it.")(audit)
    app.add_typer(group, name="security")


def scan(osv_url: OsvUrl = None, as_json: AsJson = False) -> None:
    from deploy.security import scanners

    bill = home_from_environment().root / "security" / "sbom.json"
    scans = [*scanners.code(), scanners.secrets(), scanners.vulnerabilities(osv_url)]
    _show([*scans, scanners.bill_of_materials(bill)], as_json=as_json)


def vulnerabilities(osv_url: OsvUrl = None, as_json: AsJson = False) -> None:
    from deploy.security import scanners

    _show([scanners.vulnerabilities(osv_url)], as_json=as_json)


def _show(scans: list[Scan], *, as_json: bool) -> None:
    clean = all(one.outcome == "clean" for one in scans)
    if as_json:
        print(json.dumps({"clean": clean, "scans": [one._asdict() for one in scans]}, indent=2))
    else:
        for one in scans:
            print(f"{one.name:15} {one.outcome:7} {one.said}")
            for line in one.lines:
                print(f"  {line}")
    raise typer.Exit(0 if clean else 1)


def compliance(as_json: AsJson = False) -> None:
    from deploy.security.compliance import Check, checks, database_checks

    home = home_from_environment()
    with _platform() as (settings, db):
        found: list[Check] = [*checks(home, settings), *database_checks(db)]
    failed = [check for check in found if check.passed is False]
    if as_json:
        print(json.dumps({"passed": not failed, "checks": [check._asdict() for check in found]}, indent=2))
    else:
        for check in found:
            word = {True: "yes", False: "NO", None: "unknown"}[check.passed]
            print(f"{word:8} {check.name}: {check.said}")
    raise typer.Exit(1 if failed else 0)


def audit(
    since: Annotated[str | None, typer.Option(help="So long ago (90s, 15m, 1h, 1d), or a time.")] = None,
    who: Annotated[str | None, typer.Option(help="Only what this person did.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: AsJson = False,
) -> None:
    from configs.secrets import SecretFile

    from_s = since_seconds("--since", since)
    with _platform() as (_, db):
        rows = deeds_of(db)
    for note in SecretFile(home_from_environment().secrets, os.environ).notes():
        rows.append({"at": note["at"], "who": note["who"], "did": f"secrets {note['action']}", "what": note["name"]})
    chosen = [
        row for row in rows if who in (None, row["who"]) and datetime.fromisoformat(row["at"]).timestamp() >= from_s
    ]
    chosen.sort(key=lambda row: datetime.fromisoformat(row["at"]), reverse=True)
    if as_json:
        print(json.dumps(chosen[:limit], indent=2, default=str))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("at", "who", "did", "what"):
        table.add_column(title, no_wrap=title != "what")
    for row in chosen[:limit]:
        table.add_row(row["at"], row["who"], row["did"], str(row["what"]))
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 140)
    console.print(table if chosen else "nothing is recorded")


def deeds_of(db: Connection) -> list[dict[str, Any]]:
    """Commands as the log has them, what was submitted and never got there, users and their log-ins."""
    from sqlalchemy import select

    from sinks.accounts import sessions, submissions, users
    from sinks.tables import commands

    taken = set()
    rows = []
    for row in db.execute(select(commands)).mappings():
        taken.add(row["command_id"])
        rows.append(_deed(row["ts_ns"], row["actor"], row["kind"], row["arguments"], row["reason"]))
    for row in db.execute(select(submissions)).mappings():
        if row["command_id"] not in taken:
            kind = f"{row['kind']} (not in the log)"
            rows.append(_deed(row["ts_ns"], row["actor"], kind, row["arguments"], row["reason"]))
    for row in db.execute(select(users)).mappings():
        at = row["created_at"].astimezone(UTC).isoformat(timespec="seconds")
        rows.append({"at": at, "who": row["username"], "did": "became a user", "what": f"role {row['role']} now"})
    for row in db.execute(select(sessions)).mappings():
        at = row["expires_at"].astimezone(UTC).isoformat(timespec="seconds")
        rows.append({"at": at, "who": row["username"], "did": "has a session", "what": "until then"})
    return rows


def _deed(ts_ns: int, actor: str, kind: str, arguments: Any, reason: str) -> dict[str, Any]:
    at = datetime.fromtimestamp(ts_ns / 1e9, UTC).isoformat(timespec="seconds")
    told = ", ".join(f"{name} {value}" for name, value in dict(arguments).items())
    return {"at": at, "who": actor, "did": kind, "what": "; ".join(part for part in (told, reason) if part)}


@contextmanager
def _platform() -> Iterator[tuple[Settings, Connection]]:
    """Settings and database of the running platform."""
    from sqlalchemy.exc import DBAPIError

    from deploy.recovery.recorded_topics import settings_of
    from deploy.supervisor.running import use_running_services
    from sinks.database import open_engine

    home = home_from_environment()
    if not os.environ.get("DATABASE_URL"):
        use_running_services(home)
    settings = settings_of(home, {})
    engine = open_engine(settings.database.postgres.url)
    try:
        with engine.connect() as db:
            yield settings, db
    except DBAPIError as error:
        raise DeployError(f"the tables cannot be read: {str(error.orig or error).strip().splitlines()[0]}") from error
    finally:
        engine.dispose()
