"""`strategies`: write, list and check strategies; list suspended ones and crosses; resume or flatten one."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.text_outputs import print_page
from schemas.errors import BadInput, Unavailable
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from api.routers.internal_crosses import InternalCrossOut
    from api.strategy_accounts import StrategyOverview
    from configs.settings import Settings
    from dataflows.research.strategy_check import StrategyReport, StrategySummary
    from schemas.records import CommandKind, StrategySuspension

Name = Annotated[str, typer.Argument(help="Name of the strategy, as in its signals or actions.")]
Reason = Annotated[str, typer.Option(help="Reason. It is stored with the command.")]
Source = Annotated[str, typer.Argument(help="path/to/file.py:ClassName, or a strategy of the platform.")]
Parameters = Annotated[str, typer.Option(help="Parameters of the strategy, as a JSON object.")]
Minutes = Annotated[int, typer.Option(min=2, max=10_000, help="Length of the dry run, in minute bars.")]
NewName = Annotated[str, typer.Argument(help="Name of the strategy and its file, such as my_strategy.")]
Folder = Annotated[Path, typer.Option(help="Folder for the files. It is created if it does not exist.")]
View = Annotated[bool, typer.Option("--view", help="Write a view strategy: a direction for each symbol, no orders.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Write, list and check strategies; list suspended ones and crosses; resume or flatten one.",
        no_args_is_help=True,
    )
    group.command("list", help="List the strategies of the platform and those of the settings.")(list_strategies)
    group.command("new", help="Write a template of a trading strategy, and its test, into a folder.")(new)
    group.command(
        "check", help="Check the declarations, purity, orders, snapshots, look-ahead and warm-up of a strategy."
    )(check)
    group.command("suspended", help="List the strategies that are suspended, with file, line and exception.")(suspended)
    group.command("resume", help="Resume a suspended strategy from the next time slice on, without its old state.")(
        resume
    )
    group.command("flatten", help="Cancel the orders and close the positions of a suspended or removed strategy.")(
        flatten
    )
    group.command("crosses", help="List the trades between strategies of the account, newest first.")(crosses)
    app.add_typer(group, name="strategies")


def list_strategies(as_json: AsJson = False) -> None:
    from dataflows.research.strategy_check import configured_summaries, platform_summaries

    rows = [*platform_summaries(), *configured_summaries(_settings_in_force(home_from_environment()))]
    overviews = _running_overviews()
    states = {one.strategy: one.state for one in overviews}
    shown = [(row, states.get(row.name) if row.runs else None) for row in rows]
    shown += [(_removed_summary(one), one.state) for one in overviews if one.state == "REMOVED" and one.open_positions]
    if as_json:
        print(json.dumps([{**row._asdict(), "state": state} for row, state in shown], indent=2))
        return
    width = max(len(row.name) for row, _ in shown)
    for row, state in shown:
        runs = (state or "runs").lower().replace("_", " ") if row.runs else ""
        print(f"{row.name:{width}}  {row.form:7}  {runs:10}  {row.summary}")


def _running_overviews() -> list[StrategyOverview]:
    """Return the strategies that have run; none if no platform runs."""
    try:
        return _overviews(_settings())
    except DeployError:
        return []


def _overviews(settings: Settings) -> list[StrategyOverview]:
    from sqlalchemy.exc import SQLAlchemyError

    from api.strategy_accounts import strategy_overviews
    from sinks.database import open_engine

    try:
        with open_engine(settings.database.postgres.url).connect() as db:
            return strategy_overviews(db)
    except SQLAlchemyError as error:
        raise DeployError(f"PostgreSQL does not respond: {str(error).splitlines()[0]}") from error


def _removed_summary(one: StrategyOverview) -> StrategySummary:
    """Describe a strategy with positions that the settings no longer name."""
    from dataflows.research.strategy_check import StrategySummary

    count = "1 open position" if one.open_positions == 1 else f"{one.open_positions} open positions"
    summary = f"{count}; close with strategies flatten"
    return StrategySummary(name=one.strategy, source=one.strategy, form=one.form, runs=True, summary=summary)


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
        for note in report.notes:
            print(f"note: {note}")
        for finding in report.findings:
            print(finding.text())
        count = len(report.findings)
        print("no findings" if not count else "1 finding" if count == 1 else f"{count} findings")


def _parse_parameters(text: str) -> dict[str, Any]:
    try:
        parameters = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"--parameters must be a JSON object, found {text[:64]!r}: {error}") from error
    if not isinstance(parameters, dict):
        raise BadInput(f"--parameters must be a JSON object, found {text[:64]!r}")
    return parameters


def suspended(as_json: AsJson = False) -> None:
    suspensions = _suspended(_settings())
    if as_json:
        print(json.dumps([record._asdict() for record in suspensions], indent=2))
    for line in [] if as_json else map(describe, suspensions):
        print(line)
    if not suspensions and not as_json:
        print("no strategy is suspended")


def crosses(
    strategy: Annotated[str | None, typer.Option(help="Show only crosses with this strategy.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Show only crosses in this symbol.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Maximum number of crosses.")] = 100,
    as_json: AsJson = False,
) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    from api.routers.internal_crosses import find_crosses
    from operators.money import plain
    from sinks.database import open_engine

    try:
        with open_engine(_settings().database.postgres.url).connect() as db:
            page = find_crosses(db, strategy=strategy, symbol=symbol, before=None, limit=limit)
    except SQLAlchemyError as error:
        raise DeployError(f"PostgreSQL does not respond: {str(error).splitlines()[0]}") from error

    def describe_cross(one: InternalCrossOut) -> str:
        at = one.timestamp.replace("T", " ").removesuffix("Z")
        units = f"{plain(one.quantity)} at {plain(one.price)}"
        return f"{at}  {one.cross_id}  {one.symbol}  {units}  {one.buyer} from {one.seller}"

    print_page(page, map(describe_cross, page.crosses), "no internal crosses", as_json)


def resume(name: Name, reason: Reason) -> None:
    """Resume a strategy, or request it if risk_manager.approvals needs a second person."""
    from schemas.records import RESUME_STRATEGY

    settings = _settings()
    names = [record.strategy for record in _suspended(settings)]
    if name not in names:
        known = ", ".join(names) or "none"
        raise DeployError(f"strategy {name} is not suspended{did_you_mean(name, names) or '.'} Suspended: {known}")
    _publish(settings, RESUME_STRATEGY, name, reason, f"strategy {name} runs again from the next time slice on")


def flatten(name: Name, reason: Reason) -> None:
    """Close the positions of a strategy, or request it if risk_manager.approvals needs a second person."""
    from api.strategy_accounts import flatten_obstacle
    from schemas.records import FLATTEN_STRATEGY

    settings = _settings()
    overviews = {one.strategy: one for one in _overviews(settings)}
    if name not in overviews:
        raise DeployError(f"no strategy {name} has run{did_you_mean(name, list(overviews)) or ''}")
    obstacle = flatten_obstacle(overviews[name])
    if obstacle is not None:
        raise DeployError(obstacle)
    outcome = f"the orders of {name} are cancelled and its positions closed from the next time slice on"
    _publish(settings, FLATTEN_STRATEGY, name, reason, outcome)


def _publish(settings: Settings, kind: CommandKind, name: str, reason: str, outcome: str) -> None:
    """Publish a command about a strategy, or the request for it, and print its id."""
    from api.release_approvals import or_request
    from configs.command_signing import command_signer
    from sinks.commands import new_command, send
    from sinks.signing_keys import COMMAND_LINE

    release = new_command(kind, actor=getpass.getuser(), reason=reason, arguments={"strategy": name})
    command = or_request(release, settings.risk_manager.approvals)
    kafka = settings.kafka
    send(kafka.cluster, command, prefix=kafka.topic_prefix, signer=command_signer(COMMAND_LINE))
    if command is not release:
        approval = f"kill-switch approve {command.command_id}"
        print(f"requested {command.command_id}; another person must approve it: {approval}")
        return
    print(f"published {command.command_id}; {outcome}")


def describe(record: StrategySuspension) -> str:
    """Describe a suspension in one line."""
    from deploy.time_arguments import format_ns

    symbol = f" on {record.symbol}" if record.symbol else ""  # a trading strategy has no symbol
    return (
        f"{record.strategy} since {format_ns(record.ts_ns)}{symbol}: {record.error_type}: {record.message} "
        f"({record.file}:{record.line})"
    )


def _settings() -> Settings:
    from deploy.commands.kill_switch import settings_of_services

    return settings_of_services(home_from_environment())


def _settings_in_force(home: Home) -> Settings:
    """Return the settings of the last start, with the changes at run time if the platform runs."""
    from configs.configuration_publishing import newest_of
    from configs.recorded_settings import settings_of
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.state import running_state

    if running_state(home) is not None:
        with contextlib.suppress(DeployError, Unavailable):  # while it starts or a server is down
            settings = _settings()
            return settings_of(newest_of(settings), settings)
    return platform_settings(home, {})


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
