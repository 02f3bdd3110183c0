"""`snapshots`: list, inspect and copy the recovery stores. Reads copies, so a running service is not disturbed."""

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
from deploy.name_arguments import unknown_name
from deploy.supervisor.replicas import replica_name, replicas_of, store_of
from deploy.supervisor.state import running_state
from schemas.errors import BadInput

Service = Annotated[str, typer.Argument(help="Dataflow process, such as portfolio or features-1of2.")]
StepFilter = Annotated[str | None, typer.Option(help="Show only steps with this prefix, such as stage.")]
Key = Annotated[str | None, typer.Option(help="Show only the state of this key (a shard).")]
Depth = Annotated[int, typer.Option(min=1, help="Maximum depth of nested values to print; not used with --json.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="List, inspect and copy the recovery stores.", no_args_is_help=True)
    group.command("list", help="List the recovery store of each dataflow: resume epoch, number of states and sizes.")(
        list_stores
    )
    group.command("inspect", help="Print the states in one recovery store.")(inspect)
    group.command("copy", help="Copy one recovery store, so that a dataflow can resume from the copy.")(copy)
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


def inspect(
    service: Service, step: StepFilter = None, key: Key = None, depth: Depth = 6, as_json: AsJson = False
) -> None:
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
        raise DeployError(f"no matching state in the recovery store of {service}; available: {available or 'none'}")
    if as_json:
        print(json.dumps([snapshot._asdict() for snapshot in selected], indent=2, default=str))
        return
    for snapshot in selected:
        print(f"{snapshot.step} key {snapshot.key}, epoch {snapshot.epoch}, {snapshot.bytes:,} bytes")
        print(pformat(snapshot.state, width=116, depth=depth, compact=True))


def copy(
    service: Service,
    folder: Annotated[Path, typer.Argument(help="Folder to create for the copy. It must not exist yet.")],
) -> None:
    from deploy.recovery.recovery_store import copy_store

    home = home_from_environment()
    store = _store_folder(home, service)
    if folder.exists():
        raise DeployError(f"folder {folder} already exists; choose another name")
    copy_store(store, folder)
    state = running_state(home)
    child = None if state is None else state.child(service)
    print(f"copied the recovery store of {service} to {folder}")
    if child is not None and child.pid is not None:
        print(
            "warning: the service was running, so parts of the copy differ slightly in time; stop it for an exact copy"
        )


def _store_folders(home: Home) -> dict[str, Path]:
    """Return the store folders by process name. A scaled service has one store per process."""
    # A store that is being created, or was replaced by `rebuild`, has a dot in its name.
    services = sorted(folder.name for folder in home.recovery.glob("*") if folder.is_dir() and "." not in folder.name)
    if not services:
        raise DeployError(f"no recovery stores in {home.recovery}; start the platform with `python cli.py start`")
    return {
        replica_name(service, replica): store_of(home, service, replica)
        for service in services
        for replica in replicas_of(home, service)
    }


def _store_folder(home: Home, service: str) -> Path:
    folders = _store_folders(home)
    if service not in folders:
        raise BadInput(unknown_name("recovery store", service, folders))
    return folders[service]
