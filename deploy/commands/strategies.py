"""`strategies`: write, list and check strategies; list those that are suspended, and resume one."""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from configs.settings import Settings
    from dataflows.research.strategy_check import StrategyReport
    from schemas.records import StrategySuspension

Name = Annotated[str, typer.Argument(help="Name of the strategy, as in its signals or actions.")]
Reason = Annotated[str, typer.Option(help="Reason. It is stored with the command and with the record of the resume.")]
Source = Annotated[str, typer.Argument(help="path/to/file.py:ClassName, or a strategy of the platform.")]
Parameters = Annotated[str, typer.Option(help="Parameters of the strategy, as a JSON object.")]
Minutes = Annotated[int, typer.Option(min=2, max=10_000, help="Length of the dry run, in minute bars.")]
NewName = Annotated[str, typer.Argument(help="Name of the strategy and its file, such as my_strategy.")]
Folder = Annotated[Path, typer.Option(help="Folder for the files. It is created if it does not exist.")]
View = Annotated[bool, typer.Option("--view", help="Write a view strategy: one symbol at a time, without orders.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Write, list and check strategies; list suspended ones, and resume one.", no_args_is_help=True
    )
    group.command("list", help="List the strategies of the platform and those of the settings.")(list_strategies)
    group.command("new", help="Write a strategy that trades, and its test, into a folder.")(new)
    group.command(
        "check", help="Check the declarations, purity, orders, snapshots, look-ahead and warm-up of a strategy."
    )(check)
    group.command("suspended", help="List the strategies that are suspended, with file, line and exception.")(suspended)
    group.command("resume", help="Resume a suspended strategy from the next time slice on, without its old state.")(
        resume
    )
    app.add_typer(group, name="strategies")


def list_strategies(as_json: AsJson = False) -> None:
    from configs.settings import load_settings
    from dataflows.research.strategy_check import configured_summaries, platform_summaries

    rows = [*platform_summaries(), *configured_summaries(load_settings())]
    states = _states()
    shown = [(row, states.get(row.name) if row.runs else None) for row in rows]
    if as_json:
        print(json.dumps([{**row._asdict(), "state": state} for row, state in shown], indent=2))
        return
    width = max(len(row.name) for row in rows)
    for row, state in shown:
        runs = (state or "runs").lower().replace("_", " ") if row.runs else ""
        print(f"{row.name:{width}}  {row.form:7}  {runs:10}  {row.summary}")


def _states() -> dict[str, str]:
    """Return the state of each strategy that has run; nothing if no platform runs."""
    from sqlalchemy.exc import SQLAlchemyError

    from api.strategy_accounts import strategy_overviews
    from sinks.database import open_engine

    try:
        with open_engine(_settings().database.postgres.url).connect() as db:
            return {one.strategy: one.state for one in strategy_overviews(db)}
    except (DeployError, SQLAlchemyError):
        return {}


def new(name: NewName, folder: Folder = Path("my_strategies"), view: View = False, as_json: AsJson = False) -> None:
    from deploy.strategy_template import write_strategy

    file, test, class_name = write_strategy(name, folder, view=view)
    source = f"{file}:{class_name}"
    if as_json:
        print(json.dumps({"source": source, "file": str(file), "test": str(test)}, indent=2))
        return
    print(f"new  {file}\nnew  {test}\nNext steps:")
    print(f"  check it: python cli.py strategies check {source}")
    print(f"  run its test: python cli.py test {test}")
    print(f"  backtest it: python cli.py backtest --bars bars/ --strategy {source}")


def check(source: Source, parameters: Parameters = "{}", minutes: Minutes = 780, as_json: AsJson = False) -> None:
    from dataflows.research.strategy_check import check_strategy

    def end_stuck_check(report: StrategyReport) -> None:
        _print_report(report, as_json=as_json)
        sys.stdout.flush()
        os._exit(1)

    report = check_strategy(source, _parse_parameters(parameters), minutes=minutes, on_stuck=end_stuck_check)
    _print_report(report, as_json=as_json)
    if report.findings:
        raise typer.Exit(1)


def _print_report(report: StrategyReport, *, as_json: bool) -> None:
    if as_json:
        findings = [finding._asdict() for finding in report.findings]
        print(json.dumps({**report._asdict(), "findings": findings}, indent=2))
    else:
        print(f"{report.name}: {report.form}")
        for name, text in report.declarations.items():
            print(f"  {name}: {text}")
        print(f"dry run: {report.slices} minutes, {report.decisions} decisions, {report.slice_ms:.2f} ms a minute")
        if report.bars_needed is not None:
            print(f"warm-up: two start dates agree from bar {report.bars_needed} on")
        for finding in report.findings:
            print(finding.text())
        count = len(report.findings)
        print("no findings" if not count else "1 finding" if count == 1 else f"{count} findings")


def _parse_parameters(text: str) -> dict[str, Any]:
    try:
        parameters = json.loads(text)
    except json.JSONDecodeError as error:
        raise DeployError(f"--parameters must be a JSON object, found {text[:64]!r}: {error}") from error
    if not isinstance(parameters, dict):
        raise DeployError(f"--parameters must be a JSON object, found {text[:64]!r}")
    return parameters


def suspended(as_json: AsJson = False) -> None:
    suspensions = _suspended(_settings())
    if as_json:
        print(json.dumps([record._asdict() for record in suspensions], indent=2))
    for line in [] if as_json else map(describe, suspensions):
        print(line)
    if not suspensions and not as_json:
        print("no strategy is suspended")


def resume(name: Name, reason: Reason) -> None:
    """Resume a strategy, or request it if risk_manager.approvals needs a second person."""
    from api.release_approvals import or_request
    from configs.command_signing import command_signer
    from schemas.records import RESUME_STRATEGY
    from sinks.commands import new_command, send
    from sinks.signing_keys import COMMAND_LINE

    settings = _settings()
    names = [record.strategy for record in _suspended(settings)]
    if name not in names:
        known = ", ".join(names) or "none"
        raise DeployError(f"strategy {name} is not suspended{did_you_mean(name, names) or '.'} Suspended: {known}")
    resume = new_command(RESUME_STRATEGY, actor=getpass.getuser(), reason=reason, arguments={"strategy": name})
    command = or_request(resume, settings.risk_manager.approvals)
    kafka = settings.kafka
    send(kafka.cluster, command, prefix=kafka.topic_prefix, signer=command_signer(COMMAND_LINE))
    if command is not resume:
        approval = f"kill-switch approve {command.command_id}"
        print(f"requested {command.command_id}; another person must approve it: {approval}")
        return
    print(f"published {command.command_id}; strategy {name} runs again from the next time slice on")


def describe(record: StrategySuspension) -> str:
    """Describe a suspension in one line."""
    from deploy.time_arguments import format_ns

    symbol = f" on {record.symbol}" if record.symbol else ""  # a trading strategy has no symbol
    return (
        f"{record.strategy} since {format_ns(record.ts_ns)}{symbol}: {record.error_type}: {record.message} "
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
