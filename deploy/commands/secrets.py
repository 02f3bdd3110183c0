"""`secrets`: keys and passwords in the encrypted file of the state folder."""

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

from configs.secrets import SecretFile, known_secrets, resolve_secrets
from deploy.home import home_from_environment
from schemas.errors import BadInput

Name = Annotated[str, typer.Argument(help="As `list` shows it, such as POLYGON_API_KEY.")]
Value = Annotated[str | None, typer.Argument(help="The value; - reads standard input; without, it is asked for.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs; no values.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Keys and passwords, encrypted in the state folder.", no_args_is_help=True)
    group.command("set", help="Keep a value.")(set_secret)
    group.command("get", help="Print a value.")(get)
    group.command("list", help="What is known, what is set, and where it comes from; no values.")(list_secrets)
    group.command("rotate", help="A new value; the one before is kept until --confirm, or comes --back.")(rotate)
    group.command("delete", help="Forget a value.")(delete)
    group.command("new-key", help="Encrypt the file anew for a new key.")(new_key)
    app.add_typer(group, name="secrets")


def set_secret(name: Name, value: Value = None) -> None:
    _file().set(_require_known(name), _read_value(name, value), by=_current_user())
    print(f"{name} is set; services that run take it with `python cli.py restart`", file=sys.stderr)


def get(name: Name, yes: Yes = False) -> None:
    values = resolve_secrets(os.environ, home_from_environment().secrets)
    if _require_known(name) not in values:
        raise BadInput(f"{name} is set nowhere")
    _confirm(f"Print {name} here?", yes)
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
        for name, definition in known_secrets().items()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "from", "set at", "for", "required when"):
        table.add_column(title, no_wrap=title in ("name", "from", "set at"))
    for row in rows:
        note = " (rotation not confirmed)" if row["unconfirmed"] else ""
        table.add_row(row["name"], (row["from"] or "-") + note, row["set_at"] or "-", row["for"], row["required_when"])
    console = Console(highlight=False)
    console.width = max(console.width, 150)
    console.print(table)


def rotate(
    name: Name,
    value: Value = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="The new value works: forget the one before.")] = False,
    back: Annotated[bool, typer.Option("--back", help="It does not: the one before again.")] = False,
) -> None:
    if (confirm and back) or (value is not None and (confirm or back)):
        raise BadInput("rotate takes a new value, --confirm or --back: one of them")
    file, user = _file(), _current_user()
    if confirm:
        file.confirm(_require_known(name), by=user)
        message = f"the value of {name} before the rotation is forgotten"
    elif back:
        file.roll_back(_require_known(name), by=user)
        message = f"{name} has its value of before the rotation again"
    else:
        generated = value is None and known_secrets()[_require_known(name)].generated
        file.rotate(name, randomness.token_urlsafe(48) if generated else _read_value(name, value), by=user)
        message = f"{name} has a new value; `secrets rotate {name} --confirm` when it works, --back when it does not"
    print(message, file=sys.stderr)


def delete(name: Name, yes: Yes = False) -> None:
    _require_known(name)
    _confirm(f"Forget {name} for good?", yes)
    _file().delete(name, by=_current_user())
    print(f"{name} is forgotten", file=sys.stderr)


def new_key() -> None:
    _file().replace_key(by=_current_user())
    print("all secrets are encrypted for a new key", file=sys.stderr)


def _file() -> SecretFile:
    return SecretFile(home_from_environment().secrets, os.environ)


def _current_user() -> str:
    return getpass.getuser()


def _require_known(name: str) -> str:
    if name not in known_secrets():
        raise BadInput(f"there is no secret {name!r}; there are {', '.join(known_secrets())}")
    return name


def _read_value(name: str, value: str | None) -> str:
    if value == "-":
        value = sys.stdin.read().strip()
    elif value is None:
        if not sys.stdin.isatty():
            raise BadInput(f"the value of {name} is missing; - reads it from standard input")
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
        raise BadInput("this asks before it does it; without a terminal give --yes")
    typer.confirm(question, abort=True)
