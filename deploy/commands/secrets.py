"""`secrets`: manage keys and passwords in the encrypted file of the state folder."""

from __future__ import annotations

import getpass
import json
import os
import secrets as randomness
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from configs.secrets import SecretFile, declared_secrets, resolve_secrets
from deploy.home import home_from_environment
from deploy.name_arguments import unknown_name
from schemas.errors import BadInput

Name = Annotated[str, typer.Argument(help="Name of the secret as `list` prints it, such as POLYGON_API_KEY.")]
Value = Annotated[str | None, typer.Argument(help="Value; - reads it from standard input (default: prompt for it).")]
Yes = Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, without the values.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Manage keys and passwords in an encrypted file of the state folder.", no_args_is_help=True
    )
    group.command("set", help="Store the value of a secret.")(set_secret)
    group.command("get", help="Print the value of a secret.")(get)
    group.command("list", help="List the secrets and the source of each value, without the values.")(list_secrets)
    group.command(
        "rotate",
        help="Replace the value of a secret. Keep the previous one until --confirm, or restore it with --back.",
    )(rotate)
    group.command("delete", help="Delete a secret.")(delete)
    group.command("new-key", help="Re-encrypt all secrets with a new key.")(new_key)
    app.add_typer(group, name="secrets")


def set_secret(name: Name, value: Value = None) -> None:
    _file().set(_require_declared(name), _read_value(name, value), by=_current_user())
    print(f"{name} is set; running services use it after `python cli.py restart`", file=sys.stderr)


def get(name: Name, yes: Yes = False) -> None:
    values = resolve_secrets(os.environ, home_from_environment().secrets)
    if _require_declared(name) not in values:
        raise BadInput(f"secret {name} is not set; set it with `python cli.py secrets set {name}`")
    _confirm(f"Print the value of {name}?", yes)
    _file().append_audit("get", name, by=_current_user())
    print(values[name][0])


def list_secrets(as_json: AsJson = False) -> None:
    from configs.settings import ENVIRONMENT_VARIABLES

    values = resolve_secrets(os.environ, home_from_environment().secrets)
    stored = _file().read()
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "from": values[name][1] if name in values else None,
            "setting": ".".join(ENVIRONMENT_VARIABLES[name]) if name in ENVIRONMENT_VARIABLES else None,
            "for": definition.purpose,
            "required_when": definition.required_when,
            "set_at": stored[name].set_at if name in stored else None,
            "set_by": stored[name].set_by if name in stored else None,
            "unconfirmed": name in stored and stored[name].previous is not None,
        }
        for name, definition in declared_secrets().items()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "source", "set at", "purpose", "required when"):
        table.add_column(title, no_wrap=title in ("name", "source", "set at"))
    for row in rows:
        note = " (rotation not confirmed)" if row["unconfirmed"] else ""
        table.add_row(row["name"], (row["from"] or "-") + note, row["set_at"] or "-", row["for"], row["required_when"])
    console = Console(highlight=False)
    console.width = max(console.width, 150)
    console.print(table)


def rotate(
    name: Name,
    value: Value = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Delete the previous value, once the new one works.")
    ] = False,
    back: Annotated[bool, typer.Option("--back", help="Restore the previous value.")] = False,
) -> None:
    if (confirm and back) or (value is not None and (confirm or back)):
        raise BadInput("rotate accepts only one of VALUE, --confirm and --back")
    file, user = _file(), _current_user()
    if confirm:
        file.confirm(_require_declared(name), by=user)
        message = f"the previous value of {name} is deleted"
    elif back:
        file.roll_back(_require_declared(name), by=user)
        message = f"{name} has its previous value again"
    else:
        generated = value is None and declared_secrets()[_require_declared(name)].generated
        file.rotate(name, randomness.token_urlsafe(48) if generated else _read_value(name, value), by=user)
        message = (
            f"{name} has a new value; run `secrets rotate {name} --confirm` if it works, "
            "or `--back` to restore the previous value"
        )
    print(message, file=sys.stderr)


def delete(name: Name, yes: Yes = False) -> None:
    _require_declared(name)
    _confirm(f"Delete {name}? This cannot be undone.", yes)
    _file().delete(name, by=_current_user())
    print(f"{name} is deleted", file=sys.stderr)


def new_key() -> None:
    _file().replace_key(by=_current_user())
    print("all secrets are encrypted with a new key", file=sys.stderr)


def _file() -> SecretFile:
    return SecretFile(home_from_environment().secrets, os.environ)


def _current_user() -> str:
    return getpass.getuser()


def _require_declared(name: str) -> str:
    if name not in declared_secrets():
        raise BadInput(unknown_name("secret", name, declared_secrets()))
    return name


def _read_value(name: str, value: str | None) -> str:
    if value == "-":
        value = sys.stdin.read().strip()
    elif value is None:
        if not sys.stdin.isatty():
            raise BadInput(
                f"the value of {name} is missing; pass it as an argument, or - to read it from standard input"
            )
        value = getpass.getpass(f"{name}: ").strip()
    if not value or any(not (char.isprintable() or char == "\n") for char in value):
        raise BadInput(
            f"the value of {name} must be printable text, found {'nothing' if not value else 'control characters'}"
        )
    return value


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput("this command needs a confirmation; without a terminal, use --yes")
    typer.confirm(question, abort=True)
