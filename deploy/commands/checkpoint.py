"""`checkpoint`: create, list and verify checkpoints, from which replays and rebuilds start."""

from __future__ import annotations

import getpass
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.time_arguments import format_ns
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.checkpoints.checkpoint_files import Manifest
    from deploy.home import Home

Name = Annotated[str, typer.Argument(help="Id of a checkpoint, as `list` prints it (default: all).")]
Reason = Annotated[str, typer.Option(help="Reason. It is stored with the checkpoint.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Create, list and verify checkpoints of all services.", no_args_is_help=True)
    group.command("create", help="Save the states of all services after one time slice, then remove old checkpoints.")(
        create
    )
    group.command("list", help="List the checkpoints, oldest first.")(list_all)
    group.command(
        "verify", help="Compare the files of a checkpoint with their hashes, and restore all stages from it."
    )(verify)
    app.add_typer(group, name="checkpoint")


def create(reason: Reason = "on demand", as_json: AsJson = False) -> None:
    from dataflows.runtime.live_endpoints import platform_version
    from deploy.checkpoints.create_checkpoint import NoTimeSlice, create_checkpoint
    from deploy.checkpoints.selection import remove_expired

    home = home_from_environment()
    settings = _running_settings(home)
    with Console(stderr=True).status("creating a checkpoint") as status:
        try:
            manifest = create_checkpoint(
                home, settings, actor=_user(), reason=reason, release=platform_version(), report=status.update
            )
        except NoTimeSlice as error:
            if not as_json:
                raise
            print(json.dumps({"checkpoint": None, "removed": [], "reason": str(error)}, indent=2))
            return
    removed = remove_expired(home, settings.platform.checkpoints.retain, datetime.now(UTC))
    if as_json:
        print(json.dumps({"checkpoint": asdict(manifest), "removed": removed, "reason": ""}, indent=2))
        return
    print(f"created {manifest.checkpoint_id}: {_summary(manifest)}")
    for checkpoint_id in removed:
        print(f"removed {checkpoint_id}")


def list_all(as_json: AsJson = False) -> None:
    from deploy.checkpoints.selection import list_checkpoints

    checkpoints = list_checkpoints(home_from_environment())
    if as_json:
        rows = [
            {
                "checkpoint_id": one.checkpoint_id,
                "problem": one.problem,
                "manifest": None if one.manifest is None else asdict(one.manifest),
            }
            for one in checkpoints
        ]
        print(json.dumps(rows, indent=2))
        return
    if not checkpoints:
        print("no checkpoints; create one with `python cli.py checkpoint create`")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("checkpoint", "time slice", "release", "layout", "bytes", "reason"):
        table.add_column(title, justify="right" if title == "bytes" else "left", overflow="fold")
    for one in checkpoints:
        if one.manifest is None:
            table.add_row(one.checkpoint_id, one.problem)
        else:
            manifest = one.manifest
            cells = (manifest.release, manifest.layout, f"{manifest.size:,}", one.problem or manifest.reason)
            table.add_row(one.checkpoint_id, format_ns(manifest.slice_ns), *cells)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def verify(checkpoint: Name = "", as_json: AsJson = False) -> None:
    from deploy.checkpoints.selection import list_checkpoints, load_checkpoint
    from deploy.recovery.recorded_topics import platform_settings

    home = home_from_environment()
    checkpoints = list_checkpoints(home)
    names = [one.checkpoint_id for one in checkpoints]
    if checkpoint and checkpoint not in names:
        raise BadInput(f"there is no checkpoint {checkpoint!r}{did_you_mean(checkpoint, names)}")
    settings = platform_settings(home, {})
    problems: dict[str, str] = {}
    for one in checkpoints:
        if checkpoint not in ("", one.checkpoint_id):
            continue
        problems[one.checkpoint_id] = one.problem
        if one.manifest is not None and not one.problem:
            try:
                _verify_books(settings, one.manifest, load_checkpoint(home, settings, one.manifest).compact[2])
            except DeployError as error:
                problems[one.checkpoint_id] = str(error)
    if as_json:
        print(json.dumps({"checkpoints": problems, "ok": not any(problems.values())}, indent=2))
    else:
        for name, problem in problems.items():
            print(problem or f"{name}: intact")
        print(f"{sum(not one for one in problems.values())} of {len(problems)} checkpoints can be used")
    raise typer.Exit(1 if any(problems.values()) else 0)


def _verify_books(settings: Settings, manifest: Manifest, services: Any) -> None:
    from dataflows.replay.checkpoint_books import books_of
    from deploy.checkpoints.books import books_hash, first_book_difference

    difference = first_book_difference(settings, services)
    if difference:
        raise DeployError(f"{manifest.checkpoint_id}: the books of the services differ: {difference}")
    if books_hash(books_of(settings, services)) != manifest.books:
        raise DeployError(f"{manifest.checkpoint_id}: the books do not have the recorded hash")


def _running_settings(home: Home) -> Settings:
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services

    use_running_services(home)
    return platform_settings(home, {})


def _summary(manifest: Manifest) -> str:
    return f"time slice {format_ns(manifest.slice_ns)}, {len(manifest.parts)} parts, {manifest.size:,} bytes"


def _user() -> str:
    with suppress(KeyError, OSError):  # a container without an entry for its user
        return getpass.getuser()
    return "host"
