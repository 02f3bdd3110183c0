"""`kill-switch`: halt all trading, and resume it."""

import getpass
import json
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.home import Home
    from deploy.host_halt import HaltOutcome
    from schemas.records import Command

Reason = Annotated[
    str, typer.Option(help="Reason. It is stored with the command and in every order rejection that follows.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout = Annotated[
    float, typer.Option(min=0.1, max=60.0, help="Seconds to wait for the gateway, the broker and Kafka each.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Halt all trading, and resume it.", no_args_is_help=True)
    group.command("on")(on)
    group.command("off")(off)
    group.command("approve")(approve)
    group.command("status")(status)
    app.add_typer(group, name="kill-switch")


def on(reason: Reason, timeout: Timeout = 2.0, as_json: AsJson = False) -> None:
    """Halt all trading: block new orders and cancel all working orders at once.

    Works on the host of the platform without the supervisor and with any service down. Exit with status 1 if it
    is not confirmed that no order works at the broker any more.
    """
    from dataclasses import asdict

    from deploy.host_halt import halt
    from sinks.host_kill_switch import new_halt_command

    home = home_from_environment()
    _require_platform(home)
    outcome = halt(home, new_halt_command(getpass.getuser(), reason), timeout)
    print(json.dumps(asdict(outcome)) if as_json else _as_text(outcome))
    raise typer.Exit(0 if outcome.safe else 1)


def _require_platform(home: "Home") -> None:
    """Without a state folder on this host, the command needs the addresses of the services in the environment."""
    from deploy.supervisor.service_addresses import use_running_services

    if not home.run.is_dir():
        use_running_services(home)


def _as_text(outcome: "HaltOutcome") -> str:
    who = {
        "CONFIRMED": "the gateway confirmed",
        "NOT_RUNNING": "no gateway is running, and one that starts is blocked",
        "PENDING": "the gateway has not confirmed",
        "UNKNOWN": "nobody has confirmed",
    }[outcome.gateway]
    took = f"{outcome.elapsed_s if outcome.confirmed_s is None else outcome.confirmed_s:.2f} s"
    cancelled = f"; {outcome.cancelled} orders cancelled at the broker" if outcome.cancelled else ""
    lines = [
        f"{'trading is halted' if outcome.safe else 'NOT CONFIRMED'}: {who}{cancelled} ({took})",
        *(f"problem: {problem}" for problem in outcome.problems),
    ]
    if outcome.published:
        lines.append(f"published {outcome.command_id}; risk halts in the next time slice")
    elif outcome.gateway != "UNKNOWN":
        lines.append("the process execution publishes the command when Kafka responds; then risk halts too")
    return "\n".join(lines)


def off(reason: Reason) -> None:
    """Resume trading from the next time slice on, or request it if risk_manager.approvals needs a second person."""
    from api.release_approvals import or_request
    from schemas.records import RELEASE
    from sinks.commands import new_command

    home = home_from_environment()
    settings = settings_of_services(home)
    command = or_request(new_command(RELEASE, actor=getpass.getuser(), reason=reason), settings.risk_manager.approvals)
    publish_release(home, settings, command)
    if command.kind != RELEASE:
        print(
            f"requested {command.command_id}; another person must approve it: kill-switch approve {command.command_id}"
        )
        return
    print(f"published {command.command_id}; it takes effect at the next time slice")


def approve(
    request_id: Annotated[
        str, typer.Argument(help="Id of the request, as `kill-switch off` or the dashboard prints it.")
    ],
) -> None:
    """Approve a release that another person requested. It takes effect at the next time slice."""
    approve_request(request_id, getpass.getuser())


def approve_request(request_id: str, approver: str) -> None:
    """Publish what another person requested. Raises DeployError if there is no such request."""
    from sqlalchemy.exc import DBAPIError

    from api.problems import Conflict, Forbidden, NotFound
    from api.release_approvals import approval_of
    from sinks.database import open_engine

    home = home_from_environment()
    settings = settings_of_services(home)
    engine = open_engine(settings.database.postgres.url, pool_size=1)
    try:
        with engine.connect() as db:
            command = approval_of(db, request_id, approver)
    except (Conflict, Forbidden, NotFound) as error:
        raise DeployError(str(error)) from error
    except DBAPIError as error:
        raise DeployError(f"cannot read the commands: {str(error.orig or error).strip().splitlines()[0]}") from error
    finally:
        engine.dispose()
    publish_release(home, settings, command)
    print(f"published {command.command_id}; it takes effect at the next time slice")


def status(as_json: AsJson = False) -> None:
    """Print whether trading is halted, and whether the gateway and risk have confirmed it.

    Works without the supervisor, the database and Kafka: what cannot be read is UNKNOWN.
    """
    from deploy.halt_status import read_halt_status

    halt_status = read_halt_status(home_from_environment())
    if as_json:
        print(json.dumps(halt_status.as_tree()))
        return
    print(f"{halt_status.state}   gateway {halt_status.gateway}   risk {halt_status.risk}")
    if halt_status.flag:
        print(f"halted on this host by {halt_status.actor}: {halt_status.reason}")
        if not halt_status.published:
            print("the command is not in the log yet: Kafka did not respond")
    if halt_status.gateway_error:
        print(f"gateway: {halt_status.gateway_error}")


def settings_of_services(home: "Home") -> "Settings":
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services

    use_running_services(home)
    return platform_settings(home, {})


def publish_release(home: "Home", settings: "Settings", command: "Command") -> None:
    """Publish a release, its request or an accepted position.

    The flag of this host is cleared only after Kafka has the release.
    """
    from configs.command_signing import command_signer
    from schemas.errors import Unavailable
    from schemas.records import RELEASE
    from sinks.commands import CommandLog
    from sinks.host_kill_switch import HostKillSwitch
    from sinks.signing_keys import COMMAND_LINE

    switch = HostKillSwitch(home.run)
    halt = switch.halt() if command.kind == RELEASE else None
    kafka = settings.kafka
    signer = command_signer(COMMAND_LINE)
    command_log = CommandLog(kafka.cluster, prefix=kafka.topic_prefix, idempotent=False, signer=signer)
    try:
        if halt is not None and switch.can_publish(halt) and not switch.is_published(halt):
            # A halt that is not in the log yet must not follow its own release.
            command_log.send(halt.as_command())
            switch.mark_published(halt.command_id)
        command_log.send(command)
    except Unavailable as error:
        raise DeployError(f"nothing has changed, trading stays halted: {error}") from error
    if halt is not None:
        switch.clear()
