"""`users`: manage the users of the API on the host, also when no admin can log in."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from deploy.home import home_from_environment

if TYPE_CHECKING:
    from api.accounts import Accounts
    from api.user_administration import UserAdministration

HOST_ACTOR_PREFIX = "host:"
"""Commands of this command line name the user of the host. No user of the API has a colon in the name."""


class RoleName(StrEnum):
    """The roles of `api.roles`, which is imported only when a command runs."""

    VIEWER = "viewer"
    TRADER = "trader"
    RISK = "risk"
    ADMIN = "admin"


Username = Annotated[str, typer.Argument(help="Name of the user.")]
RoleArgument = Annotated[RoleName, typer.Argument(help="Role of the user.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Manage the users of the API on this host. Every change is recorded in the audit trail.",
        no_args_is_help=True,
    )
    group.command("list", help="List the users, without their passwords.")(list_users)
    group.command("create", help="Create a user and print the one-time password.")(create)
    group.command("set-role", help="Change the role of a user. Ends the user's sessions.")(set_role)
    group.command("disable", help="Disable a user. Ends the user's sessions.")(disable)
    group.command("enable", help="Enable a disabled user.")(enable)
    group.command(
        "reset-password",
        help="Print a new one-time password, for example for an admin who lost the password. Ends the user's sessions.",
    )(reset_password)
    group.command("reset-totp", help="Turn off the second factor of a user, for example after the loss of a phone.")(
        reset_totp
    )
    app.add_typer(group, name="users")


def list_users(as_json: AsJson = False) -> None:
    with _open_accounts() as (accounts, _):
        rows = accounts.all_users()
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2, default=str))
        return
    table = Table("user", "role", "state", "created", box=None, pad_edge=False)
    for row in rows:
        state = "disabled" if row.disabled else "one-time password" if row.must_change_password else "active"
        table.add_row(row.username, row.role, state, row.created_at.isoformat(timespec="seconds"))
    Console(highlight=False, markup=False).print(table if rows else "no users")


def create(username: Username, role: RoleArgument) -> None:
    import re

    from api.roles import USERNAME_PATTERN
    from api.roles import Role as ApiRole
    from schemas.errors import BadInput

    if not re.fullmatch(USERNAME_PATTERN, username):
        raise BadInput(
            f"a username has 2 to 32 characters: a-z 0-9 . _ -, starting with a letter; found {username[:40]!r}"
        )
    with _open_accounts() as (_, administration):
        password = administration.add(username, ApiRole(role.value))
    _print_password(username, password)


def set_role(username: Username, role: RoleArgument) -> None:
    from api.roles import Role as ApiRole

    with _open_accounts() as (_, administration):
        administration.change(username, role=ApiRole(role.value))
    print(f"{username} has the role {role.value}")


def disable(username: Username) -> None:
    with _open_accounts() as (_, administration):
        administration.change(username, disabled=True)
    print(f"{username} is disabled")


def enable(username: Username) -> None:
    with _open_accounts() as (_, administration):
        administration.change(username, disabled=False)
    print(f"{username} is enabled")


def reset_password(username: Username) -> None:
    with _open_accounts() as (_, administration):
        password = administration.reset_password(username)
    _print_password(username, password)


def reset_totp(username: Username) -> None:
    with _open_accounts() as (_, administration):
        administration.reset_totp(username)
    print(f"{username} logs in without a second factor")


def _print_password(username: str, password: str) -> None:
    print(f"one-time password of {username}: {password}")
    print("The user must set a new password at the first log-in.")


@contextmanager
def _open_accounts() -> Iterator[tuple[Accounts, UserAdministration]]:
    """Yield the users of the running platform and their administration. Raises DeployError with one sentence."""
    from sqlalchemy.exc import DBAPIError

    from api.accounts import Accounts
    from api.problems import Conflict, NotFound
    from api.user_administration import UserAdministration
    from configs.command_signing import command_signer
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services
    from schemas.errors import Unavailable
    from sinks.commands import CommandLog
    from sinks.database import open_engine
    from sinks.signing_keys import COMMAND_LINE

    home = home_from_environment()
    use_running_services(home)
    settings = platform_settings(home, {})
    engine = open_engine(settings.database.postgres.url, pool_size=1)
    accounts = Accounts(
        engine, home.secrets, access_s=settings.api.access_token_s, refresh_s=settings.api.refresh_token_s
    )
    kafka = settings.kafka
    log = CommandLog(kafka.cluster, prefix=kafka.topic_prefix, signer=command_signer(COMMAND_LINE))
    try:
        yield accounts, UserAdministration(accounts, log.send, HOST_ACTOR_PREFIX + getpass.getuser())
    except (Conflict, NotFound) as error:
        raise DeployError(str(error)) from error
    except Unavailable as error:
        raise DeployError(f"nothing was changed, because Kafka did not record it: {error}") from error
    except DBAPIError as error:
        reason = str(error.orig or error).strip().splitlines()[0]
        raise DeployError(f"cannot use the table of users in PostgreSQL: {reason}") from error
    finally:
        engine.dispose()
