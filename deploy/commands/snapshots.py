"""`snapshots`: what the recovery stores hold, read from safe copies."""

from __future__ import annotations

import json
from pathlib import Path
from pprint import pformat
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.supervisor.replicas import replica_name, replicas_of, store_of
from deploy.supervisor.state import running_state

Service = Annotated[str, typer.Argument(help="A dataflow, such as portfolio.")]
Step = Annotated[str | None, typer.Option(help="Only steps whose name begins so, such as stage.")]
Key = Annotated[str | None, typer.Option(help="Only this key: a shard.")]
Depth = Annotated[int, typer.Option(min=1, help="How deep to show nested states.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON, whole.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What the recovery stores hold, read from safe copies.", no_args_is_help=True)
    group.command("list", help="Every store: where it would resume, states and sizes.")(list_stores)
    group.command("inspect", help="The states in one store.")(inspect)
    group.command("copy", help="A copy of one store that a dataflow could resume from.")(copy)
    app.add_typer(group, name="snapshots")


def list_stores(as_json: AsJson = False) -> None:
    from deploy.recovery.recovery_store import read_store

    home = home_from_environment()
    rows: list[dict[str, Any]] = []
    for name, folder in _store_folders(home).items():
        store = read_store(folder)
        states = store.snapshots
        rows.append(
            {
                "service": name,
                "resume_epoch": store.resume_epoch,
                "starts": store.start_count,
                "states": len(states),
                "state_bytes": sum(snapshot.bytes for snapshot in states),
                "disk_bytes": sum(file.stat().st_size for file in folder.iterdir()),
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None)
    for title in rows[0]:
        table.add_column(title.replace("_", " "), justify="left" if title == "service" else "right")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console(width=120, highlight=False).print(table)


def inspect(service: Service, step: Step = None, key: Key = None, depth: Depth = 6, as_json: AsJson = False) -> None:
    from deploy.recovery.recovery_store import read_store

    store = read_store(_store_folder(home_from_environment(), service))
    selected = [
        snapshot
        for snapshot in store.snapshots
        if (step is None or snapshot.step.startswith(f"{service.split('-')[0]}.{step}"))
        and (key is None or snapshot.key == key)
    ]
    if not selected:
        available = ", ".join(f"{snapshot.step} {snapshot.key}" for snapshot in store.snapshots)
        raise DeployError(f"no such state in the store of {service}; it holds {available or 'none'}")
    if as_json:
        print(json.dumps([snapshot._asdict() for snapshot in selected], indent=2, default=str))
        return
    for snapshot in selected:
        print(f"{snapshot.step} key {snapshot.key}, epoch {snapshot.epoch}, {snapshot.bytes:,} bytes")
        print(pformat(snapshot.state, width=116, depth=depth, compact=True))


def copy(service: Service, folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")]) -> None:
    from deploy.recovery.recovery_store import copy_store

    home = home_from_environment()
    store = _store_folder(home, service)
    if folder.exists():
        raise DeployError(f"{folder} exists already")
    copy_store(store, folder)
    state = running_state(home)
    child = None if state is None else state.child(service)
    print(f"copied the recovery store of {service} to {folder}")
    if child is not None and child.pid is not None:
        print("the service was running: its parts are of slightly different moments; stop it first for an exact copy")


def _store_folders(home: Home) -> dict[str, Path]:
    """By the name of its process: a service that was scaled has a store for each."""
    # A store that is being made, or was set aside by `rebuild`, has a dot in its name.
    services = sorted(folder.name for folder in home.recovery.glob("*") if folder.is_dir() and "." not in folder.name)
    if not services:
        raise DeployError(f"there are no recovery stores in {home.recovery}")
    return {
        replica_name(service, replica): store_of(home, service, replica)
        for service in services
        for replica in replicas_of(home, service)
    }


def _store_folder(home: Home, service: str) -> Path:
    folders = _store_folders(home)
    if service not in folders:
        raise DeployError(f"there is no recovery store of {service!r}; there are {', '.join(folders)}")
    return folders[service]
