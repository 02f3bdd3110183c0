"""`optimize-weights`: let an optimiser find target weights, and write them to the platform as a command."""

from __future__ import annotations

import getpass
import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.home import home_from_environment

if TYPE_CHECKING:
    from dataflows.research.optimization import ClosesBySymbol, OptimizedWeights

Method = Annotated[str, typer.Option(help="max_sharpe, hrp or cvar.")]
Bars = Annotated[
    list[Path] | None,
    typer.Option(help="CSV or Parquet files of bars, or folders; else those of the running platform."),
]
MoreBars = Annotated[list[Path] | None, typer.Argument(hidden=True)]
Symbols = Annotated[str | None, typer.Option(help="With commas; else all that have bars.")]
ReturnInterval = Annotated[
    str, typer.Option("--returns", help="daily: from last close to last close; bar: from bar to bar.")
]
Days = Annotated[
    int | None, typer.Option(min=1, help="Calendar days back from the last bar; else 365, or 5 with bar returns.")
]
MaxWeight = Annotated[str, typer.Option(help="Share of equity that no symbol gets more of.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the weights and write nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command("optimize-weights", help="Find target weights by skfolio, for sizing method target_weights.")(optimize)


def optimize(
    method: Method,
    bars: Bars = None,
    more_bars: MoreBars = None,
    symbols: Symbols = None,
    return_interval: ReturnInterval = "daily",
    days: Days = None,
    max_weight: MaxWeight = "1",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    from dataflows.research import optimization
    from deploy.supervisor.service_addresses import use_running_services
    from operators.sizing import parse_weights
    from schemas.errors import BadInput

    if method not in optimization.METHODS:
        raise BadInput(f"--method must be one of {', '.join(optimization.METHODS)}, found {method!r}")
    if return_interval not in optimization.LOOKBACK_DAYS:
        raise BadInput(f"--returns must be one of {', '.join(optimization.LOOKBACK_DAYS)}, found {return_interval!r}")
    paths = [*(bars or []), *(more_bars or [])]
    if not (paths and dry_run):
        use_running_services(home_from_environment())  # said before anything is computed
    symbol_names = [name.strip() for name in (symbols or "").split(",") if name.strip()]
    closes = _closes(paths, return_interval, days or optimization.LOOKBACK_DAYS[return_interval], symbol_names)
    returns = optimization.compute_returns(closes, return_interval, symbol_names)
    result = optimization.optimize(returns, method, _parse_share(max_weight))
    parse_weights(result.arguments)
    notes = optimization.suspicious_jumps(returns)
    command_id = "" if dry_run else _send(result, notes)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    _show(result, command_id, as_json=as_json)


def _parse_share(text: str) -> Decimal:
    from schemas.errors import BadInput

    try:
        share = Decimal(text)
    except InvalidOperation:
        share = Decimal("NaN")
    if not share.is_finite():
        raise BadInput(f"--max-weight must be a number in (0, 1], found {text!r}")
    return share


def _closes(paths: list[Path], return_interval: str, days: int, symbols: list[str]) -> ClosesBySymbol:
    """Raises BadInput and DeployError."""
    from sqlalchemy.exc import DBAPIError

    from configs.settings import load_settings
    from dataflows.research import optimization
    from deploy.performance.analysis import database_error
    from sinks.database import open_engine

    settings = load_settings()
    if paths:
        return optimization.closes_from_files(settings, paths, return_interval, days)
    engine = open_engine(settings.database.postgres.url, pool_size=1)
    try:
        return optimization.closes_from_table(engine, return_interval, days, symbols)
    except DBAPIError as error:
        raise database_error(error) from error
    finally:
        engine.dispose()


def _send(result: OptimizedWeights, notes: list[str]) -> str:
    """The id of the command, once it is in the log."""
    from deploy.recovery.recorded_topics import platform_settings
    from operators.sizing import TARGET_WEIGHTS
    from sinks.commands import CommandLog, new_command

    settings = platform_settings(home_from_environment(), {})
    sizing_method = settings.portfolio_manager.sizing.method
    if sizing_method != "target_weights":
        notes.append(f"the platform sizes by {sizing_method}; weights count under sizing method target_weights")
    command = new_command(TARGET_WEIGHTS, actor=getpass.getuser(), reason=result.reason, arguments=result.arguments)
    CommandLog(settings.kafka.cluster, prefix=settings.kafka.topic_prefix).send(command)
    return command.command_id


def _show(result: OptimizedWeights, command_id: str, *, as_json: bool) -> None:
    if as_json:
        document = result._asdict() | {"max_weight": str(result.max_weight), "weights": result.arguments}
        print(json.dumps({**document, "reason": result.reason, "command_id": command_id or None}, indent=1))
        return
    for symbol, weight in sorted(result.arguments.items(), key=lambda row: (-Decimal(row[1]), row[0])):
        print(f"{symbol:<12} {weight}")
    print(result.reason)
    if command_id:
        print(f"{command_id} is in the log; it takes effect at the next tick")
    else:
        print("nothing was written")
