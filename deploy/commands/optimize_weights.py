"""`optimize-weights`: compute target weights with an optimizer, and publish them to the platform as a command."""

from __future__ import annotations

import getpass
import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.name_arguments import require_choice

if TYPE_CHECKING:
    from dataflows.research.optimization import ClosesBySymbol, OptimizedWeights, ReturnFrequency

Method = Annotated[str, typer.Option(help="Optimization method: max_sharpe, hrp or cvar.")]
Bars = Annotated[
    list[Path] | None,
    typer.Option(help="CSV or Parquet bar files, or folders of them (default: the bars of the running platform)."),
]
MoreBars = Annotated[list[Path] | None, typer.Argument(hidden=True)]
Symbols = Annotated[str | None, typer.Option(help="Comma-separated symbols (default: all symbols with bars).")]
ReturnInterval = Annotated[
    str, typer.Option("--returns", help="Return interval: daily (last close to last close) or bar (bar to bar).")
]
Days = Annotated[
    int | None, typer.Option(min=1, help="Calendar days before the last bar (default: 365, or 5 with bar returns).")
]
MaxWeight = Annotated[str, typer.Option(help="Maximum weight of one symbol, as a fraction of equity.")]
DryRunFlag = Annotated[bool, typer.Option("--dry-run", help="Print the weights without publishing them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command("optimize-weights", help="Compute target weights with skfolio, for the sizing method target_weights.")(
        optimize
    )


def optimize(
    method: Method,
    bars: Bars = None,
    more_bars: MoreBars = None,
    symbols: Symbols = None,
    return_interval: ReturnInterval = "daily",
    days: Days = None,
    max_weight: MaxWeight = "1",
    dry_run: DryRunFlag = False,
    as_json: AsJson = False,
) -> None:
    from dataflows.research import optimization
    from deploy.supervisor.service_addresses import use_running_services
    from operators.sizing import parse_weights

    chosen_method = require_choice("--method", method, optimization.METHODS)
    frequency = require_choice("--returns", return_interval, optimization.LOOKBACK_DAYS)
    paths = [*(bars or []), *(more_bars or [])]
    if not (paths and dry_run):
        use_running_services(home_from_environment())  # fail before the computation if none is running
    symbol_names = [name.strip() for name in (symbols or "").split(",") if name.strip()]
    closes = _closes(paths, frequency, days or optimization.LOOKBACK_DAYS[frequency], symbol_names)
    returns = optimization.compute_returns(closes, frequency, symbol_names)
    result = optimization.optimize(returns, chosen_method, _parse_share(max_weight))
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


def _closes(paths: list[Path], frequency: ReturnFrequency, days: int, symbols: list[str]) -> ClosesBySymbol:
    """Return the closes of each symbol. Raises BadInput and DeployError."""
    from sqlalchemy.exc import DBAPIError

    from dataflows.research import optimization
    from deploy.performance.analysis import database_error
    from deploy.recovery.recorded_topics import platform_settings
    from schemas.errors import Unavailable
    from sinks.database import open_engine

    settings = platform_settings(home_from_environment(), {})
    if paths:
        return optimization.closes_from_files(settings, paths, frequency, days)
    engine = open_engine(settings.database.postgres.url, pool_size=1)
    try:
        return optimization.closes_from_table(engine, frequency, days, symbols, settings.kafka.table_archive)
    except Unavailable as error:
        raise DeployError(str(error)) from error
    except DBAPIError as error:
        raise database_error(error) from error
    finally:
        engine.dispose()


def _send(result: OptimizedWeights, notes: list[str]) -> str:
    """Publish the weights, add a note if they have no effect, and return the id of the command."""
    from configs.command_signing import command_signer
    from deploy.recovery.recorded_topics import platform_settings
    from operators.sizing import TARGET_WEIGHTS
    from sinks.commands import new_command, send
    from sinks.signing_keys import COMMAND_LINE

    settings = platform_settings(home_from_environment(), {})
    sizing_method = settings.portfolio_manager.sizing.method
    if sizing_method != "target_weights":
        notes.append(
            f"the sizing method is {sizing_method}; target weights take effect only with sizing method target_weights"
        )
    command = new_command(TARGET_WEIGHTS, actor=getpass.getuser(), reason=result.reason, arguments=result.arguments)
    kafka = settings.kafka
    send(kafka.cluster, command, prefix=kafka.topic_prefix, signer=command_signer(COMMAND_LINE))
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
        print(f"published {command_id}; it takes effect at the next time slice")
    else:
        print("dry run: nothing was published")
