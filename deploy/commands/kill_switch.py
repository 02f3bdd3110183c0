"""`kill-switch`: halt all trading, and resume it."""

import getpass
from typing import Annotated

import typer

from deploy.home import home_from_environment

Reason = Annotated[
    str, typer.Option(help="Reason. It is stored with the command and in every order rejection that follows.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Halt all trading, and resume it.", no_args_is_help=True)
    group.command("on")(on)
    group.command("off")(off)
    app.add_typer(group, name="kill-switch")


def on(reason: Reason) -> None:
    """Halt all trading: from the next time slice on, reject every new order and cancel all working orders."""
    from schemas.records import KILL_SWITCH

    _send(KILL_SWITCH, reason)


def off(reason: Reason) -> None:
    """Resume trading: accept orders again from the next time slice on."""
    from schemas.records import RELEASE

    _send(RELEASE, reason)


def _send(kind: str, reason: str) -> None:
    from configs.settings import load_settings
    from deploy.supervisor.service_addresses import use_running_services
    from sinks.commands import new_command, send

    use_running_services(home_from_environment())
    kafka = load_settings().kafka
    command = new_command(kind, actor=getpass.getuser(), reason=reason)
    send(kafka.cluster, command, prefix=kafka.topic_prefix)
    print(f"published {command.command_id}; it takes effect at the next time slice")
