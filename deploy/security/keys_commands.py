"""`security keys`: list the keys that sign commands, and rotate one."""

from __future__ import annotations

import getpass
import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.time_arguments import format_ns
from schemas.errors import BadInput

if TYPE_CHECKING:
    from operators.command_signatures import CommandSignatures, SigningKey

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DAY_NS = 86_400_000_000_000


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="List and rotate the keys that sign commands.", no_args_is_help=True)
    group.command("list", help="List the keys in the log, with their validity and what they may sign.")(list_keys)
    group.command("rotate", help="Replace the key of a writer. Running processes use the new key at once.")(rotate)
    app.add_typer(group, name="keys")


def list_keys(as_json: AsJson = False) -> None:
    from sinks.signing_keys import FOLDER, read_recorded

    signatures = _signatures()
    rows = [_key_tree(key, signatures) for key in signatures.keys.values()]
    if as_json:
        print(json.dumps({"platform_id": signatures.platform_id, "keys": rows}, indent=2))
        return
    if not rows and read_recorded(home_from_environment().secrets / FOLDER) is not None:
        print("topic commands has keys, but PostgreSQL not yet: services store them at the next time slice")
    elif not rows:
        print("no keys are recorded: commands need no signature")
    for row in rows:
        until = f" until {row['valid_until']}" if row["valid_until"] else ""
        print(f"{row['key_id']}  {row['writer']:13} {row['state']:8} from {row['valid_from'] or 'the start'}{until}")
        print(f"  signs {', '.join(row['kinds'])}")


def rotate(
    writer: Annotated[str, typer.Argument(help="api, command-line, market_data, execution or root.")],
    reason: Annotated[str, typer.Option(help="Reason. It is stored with the record of the revoked key.")] = "rotation",
    valid_days: Annotated[
        int | None, typer.Option(min=1, help="Days after which the new key is invalid (default: no end).")
    ] = None,
    overlap: Annotated[
        float, typer.Option(min=0, max=300, help="Seconds until the old key is revoked. Use 0 after a theft.")
    ] = 15.0,
    as_json: AsJson = False,
) -> None:
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.command_keys import rotate_key
    from deploy.supervisor.service_addresses import use_running_services
    from operators.command_signatures import ROOT_WRITER
    from sinks.signing_keys import WRITERS

    if writer not in (*WRITERS, ROOT_WRITER):
        raise BadInput(f"unknown writer {writer!r}, expected one of {', '.join((*WRITERS, ROOT_WRITER))}")
    home = home_from_environment()
    use_running_services(home)
    new_id, old_id = rotate_key(
        home,
        platform_settings(home, {}),
        writer,
        valid_until_ns=0 if valid_days is None else time.time_ns() + valid_days * _DAY_NS,
        overlap_s=overlap,
        reason=f"{reason} by {getpass.getuser()}",
    )
    if as_json:
        print(json.dumps({"writer": writer, "key_id": new_id, "revoked": old_id or None}))
        return
    print(f"{writer} signs with key {new_id}" + (f"; key {old_id} is revoked" if old_id else ""))


def _signatures() -> CommandSignatures:
    from contextlib import closing

    import psycopg2

    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services
    from deploy.verification.ledger_tables import snapshot_connection
    from deploy.verification.signatures import check_commands

    home = home_from_environment()
    use_running_services(home)
    try:
        with closing(snapshot_connection(platform_settings(home, {}).database.postgres.url)) as db:
            return check_commands(db).signatures
    except psycopg2.Error as error:
        raise DeployError(f"cannot read the keys from PostgreSQL: {str(error).strip().splitlines()[0]}") from error


def _key_tree(key: SigningKey, signatures: CommandSignatures) -> dict[str, Any]:
    state = "revoked" if key.is_revoked else "current"
    if key.valid_until_ns and key.valid_until_ns <= time.time_ns() and not key.is_revoked:
        state = "expired"
    return {
        "key_id": key.key_id,
        "writer": key.writer,
        "state": state,
        "is_root": key.key_id == signatures.root_id,
        "valid_from": format_ns(key.valid_from_ns) if key.valid_from_ns else "",
        "valid_until": format_ns(key.valid_until_ns) if key.valid_until_ns else "",
        "kinds": list(key.kinds),
        "actors": list(key.actors),
        "public_key": key.public_key.hex(),
    }
