"""`security`: run scanners and the compliance checklist, and print the audit trail."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.home import home_from_environment
from deploy.open_tables import open_tables
from deploy.security import keys_commands
from deploy.time_arguments import parse_since_s

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from deploy.security.compliance import ComplianceCheck
    from deploy.security.scanners import ScanResult

OsvUrl = Annotated[str | None, typer.Option(help="Address of an OSV server to use for the vulnerability lookup.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Run security scans and checks, and print the audit trail.", no_args_is_help=True)
    group.command(
        "scan",
        help="Scan code, files for secrets and packages for vulnerabilities; write a software bill of materials.",
    )(scan)
    group.command("vulnerabilities", help="List known vulnerabilities of the locked packages.")(vulnerabilities)
    group.command("compliance", help="Check the current settings and state against a security checklist.")(compliance)
    group.command("audit", help="List who did what, and when: commands, users, sessions and secrets.")(audit)
    keys_commands.register(group)
    app.add_typer(group, name="security")


def scan(osv_url: OsvUrl = None, as_json: AsJson = False) -> None:
    from deploy.security import scanners

    sbom_file = home_from_environment().root / "security" / "sbom.json"
    scans = [*scanners.scan_code(), scanners.scan_secrets(), scanners.scan_vulnerabilities(osv_url)]
    _show([*scans, scanners.write_bill_of_materials(sbom_file)], as_json=as_json)


def vulnerabilities(osv_url: OsvUrl = None, as_json: AsJson = False) -> None:
    from deploy.security import scanners

    _show([scanners.scan_vulnerabilities(osv_url)], as_json=as_json)


def _show(scans: list[ScanResult], *, as_json: bool) -> None:
    clean = all(result.outcome == "clean" for result in scans)
    if as_json:
        print(json.dumps({"clean": clean, "scans": [_scan_tree(result) for result in scans]}, indent=2))
    else:
        for result in scans:
            print(f"{result.name:15} {result.outcome:7} {result.summary}")
            for line in result.lines:
                print(f"  {line}")
    raise typer.Exit(0 if clean else 1)


def _scan_tree(result: ScanResult) -> dict[str, Any]:
    return {"name": result.name, "outcome": result.outcome, "said": result.summary, "lines": result.lines}


def compliance(as_json: AsJson = False) -> None:
    from deploy.security.compliance import database_checks, settings_checks

    home = home_from_environment()
    with open_tables(home) as (settings, db):
        results: list[ComplianceCheck] = [*settings_checks(home, settings), *database_checks(db)]
    failed = [check for check in results if check.passed is False]
    if as_json:
        print(json.dumps({"passed": not failed, "checks": [_check_tree(check) for check in results]}, indent=2))
    else:
        for check in results:
            label = {True: "yes", False: "NO", None: "unknown"}[check.passed]
            print(f"{label:8} {check.name}: {check.detail}")
    raise typer.Exit(1 if failed else 0)


def _check_tree(check: ComplianceCheck) -> dict[str, Any]:
    return {"name": check.name, "passed": check.passed, "said": check.detail}


def audit(
    since: Annotated[
        str | None, typer.Option(help="Show entries since a duration (90s, 15m, 1h, 1d) or a timestamp.")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Show only the entries of this user.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of entries.")] = 100,
    as_json: AsJson = False,
) -> None:
    from configs.secrets import SecretFile

    from_s = parse_since_s("--since", since)
    with open_tables(home_from_environment()) as (_, db):
        rows = audit_rows(db)
    for note in SecretFile(home_from_environment().secrets, os.environ).audit_entries():
        rows.append({"at": note["at"], "who": note["who"], "did": f"secrets {note['action']}", "what": note["name"]})
    selected = [
        row for row in rows if who in (None, row["who"]) and datetime.fromisoformat(row["at"]).timestamp() >= from_s
    ]
    selected.sort(key=lambda row: datetime.fromisoformat(row["at"]), reverse=True)
    if as_json:
        print(json.dumps(selected[:limit], indent=2, default=str))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("time", "user", "action", "details"):
        table.add_column(title, no_wrap=title != "details")
    for row in selected[:limit]:
        table.add_row(row["at"], row["who"], row["did"], str(row["what"]))
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 140)
    console.print(table if selected else "no entries")


def audit_rows(db: Connection) -> list[dict[str, Any]]:
    """Return the commands and configurations in the log, those that were rejected for their signature, submissions that
    did not reach the log, users and their sessions.
    """
    from sqlalchemy import select

    from operators.approvals import CONFIGURE
    from operators.command_signatures import REASON_PREFIX
    from sinks.accounts import sessions, submissions, users
    from sinks.tables import commands, configurations, dead_letters

    command_ids = set()
    rows = []
    for row in db.execute(select(commands)).mappings():
        command_ids.add(row["command_id"])
        rows.append(_audit_row(row["ts_ns"], row["actor"], row["kind"], row["arguments"], row["reason"]))
    for row in db.execute(select(configurations)).mappings():
        # A change with an idempotency key is a submission too, but not a command.
        command_ids.add(row["request_id"])
        persons = {"requested_by": row["requested_by"]} if row["requested_by"] else {}
        arguments = {"configuration": row["configuration_id"], **persons, **dict(row["overrides"])}
        rows.append(_audit_row(row["ts_ns"], row["actor"], "CONFIGURATION", arguments, row["reason"]))
    is_unverified = (dead_letters.c.stage == "risk") & dead_letters.c.reason.startswith(REASON_PREFIX)
    for row in db.execute(select(dead_letters).where(is_unverified)).mappings():
        at = datetime.fromtimestamp(row["ts_ns"] / 1e9, UTC).isoformat(timespec="seconds")
        what = f"{row['topic']}/{row['partition']}@{row['offset']}: {row['reason'].removeprefix(REASON_PREFIX)}"
        rows.append({"at": at, "who": "unverified", "did": "command without a valid signature", "what": what})
    for row in db.execute(select(submissions)).mappings():
        is_change_of_nothing = row["kind"] == CONFIGURE and row["acknowledged"]
        if row["command_id"] not in command_ids and not is_change_of_nothing:
            kind = f"{row['kind']} (not in the log)"
            rows.append(_audit_row(row["ts_ns"], row["actor"], kind, row["arguments"], row["reason"]))
    for row in db.execute(select(users)).mappings():
        at = row["created_at"].astimezone(UTC).isoformat(timespec="seconds")
        rows.append({"at": at, "who": row["username"], "did": "user created", "what": f"current role {row['role']}"})
    for row in db.execute(select(sessions)).mappings():
        at = row["expires_at"].astimezone(UTC).isoformat(timespec="seconds")
        rows.append({"at": at, "who": row["username"], "did": "session", "what": "expires at this time"})
    return rows


def _audit_row(ts_ns: int, actor: str, kind: str, arguments: Any, reason: str) -> dict[str, Any]:
    at = datetime.fromtimestamp(ts_ns / 1e9, UTC).isoformat(timespec="seconds")
    arguments_text = ", ".join(f"{name} {value}" for name, value in dict(arguments).items())
    return {"at": at, "who": actor, "did": kind, "what": "; ".join(part for part in (arguments_text, reason) if part)}
