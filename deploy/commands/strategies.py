"""`strategies`: list the strategies that are suspended because they raised an exception, and resume one."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from configs.settings import Settings
    from schemas.records import StrategySuspension

Name = Annotated[str, typer.Argument(help="Name of the strategy, as its signals have it.")]
Reason = Annotated[str, typer.Option(help="Reason. It is stored with the command and with the record of the resume.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="List suspended strategies, and resume one.", no_args_is_help=True)
    group.command("suspended", help="List the strategies that are suspended, with file, line and exception.")(suspended)
    group.command("resume", help="Resume a suspended strategy from the next time slice on, without its old state.")(
        resume
    )
    app.add_typer(group, name="strategies")


def suspended(as_json: AsJson = False) -> None:
    found = _suspended(_settings())
    if as_json:
        print(json.dumps([record._asdict() for record in found], indent=2))
    for line in [] if as_json else map(describe, found):
        print(line)
    if not found and not as_json:
        print("no strategy is suspended")


def resume(name: Name, reason: Reason) -> None:
    from configs.command_signing import command_signer
    from schemas.records import RESUME_STRATEGY
    from sinks.commands import new_command, send
    from sinks.signing_keys import COMMAND_LINE

    settings = _settings()
    names = [record.strategy for record in _suspended(settings)]
    if name not in names:
        known = ", ".join(names) or "none"
        raise DeployError(f"strategy {name} is not suspended{did_you_mean(name, names) or '.'} Suspended: {known}")
    command = new_command(RESUME_STRATEGY, actor=getpass.getuser(), reason=reason, arguments={"strategy": name})
    kafka = settings.kafka
    send(kafka.cluster, command, prefix=kafka.topic_prefix, signer=command_signer(COMMAND_LINE))
    print(f"published {command.command_id}; strategy {name} runs again from the next time slice on")


def describe(record: StrategySuspension) -> str:
    """Describe a suspension in one line."""
    from deploy.time_arguments import format_ns

    return (
        f"{record.strategy} since {format_ns(record.ts_ns)} on {record.symbol}: {record.error_type}: {record.message} "
        f"({record.file}:{record.line})"
    )


def _settings() -> Settings:
    from configs.settings import load_settings
    from deploy.supervisor.service_addresses import use_running_services

    use_running_services(home_from_environment())
    return load_settings()


def _suspended(settings: Settings) -> list[StrategySuspension]:
    from sqlalchemy.exc import SQLAlchemyError

    from sinks.database import open_engine
    from sinks.suspensions import suspended_strategies

    try:
        engine = open_engine(settings.database.postgres.url)
        with engine.connect() as db:
            return suspended_strategies(db)
    except SQLAlchemyError as error:
        raise DeployError(f"PostgreSQL does not respond: {str(error).splitlines()[0]}") from error
