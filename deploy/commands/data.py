"""`data`: check files of bars or trades before a backtest, and store bars in the catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy import catalog_commands, data_download
from deploy.bar_file_options import (
    CalendarName,
    DateOrder,
    DecimalMark,
    Interval,
    SessionChoice,
    Symbol,
    TimeIs,
    Timezone,
    Volume,
    feed_values,
)
from deploy.text_outputs import require_output, write_output
from schemas.counted import counted

if TYPE_CHECKING:
    from dataflows.research.data_check import FileCheck
    from dataflows.research.trade_file_check import TradeFileCheck

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        help="CSV or Parquet bar files, or folders of them. With --trades also JSON lines. catalog:SPY,AAPL stands for "
        "bars of the catalogue. Default: the whole catalogue."
    ),
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Settings file. Its values override the default settings.")
]
Trades = Annotated[
    bool, typer.Option("--trades", help="The files contain trades (price and size), as for backtest --market-trades.")
]
JsonTarget = Annotated[
    str | None, typer.Option("--json", help="Write the whole result as JSON to this file; - for standard output.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Store bars in the catalogue, and check files of bars or trades.", no_args_is_help=True)
    group.command(
        "check",
        help="Check bar files or the catalogue: intervals, gaps, duplicates, outliers, sessions, zones, splits, and "
        "hashes of the catalogue. With --trades, check files of trades: order, duplicates, prices, sizes and gaps.",
    )(check)
    catalog_commands.register(group)
    group.command("sample", help="Write invented daily bars to learn with: a market with an edge, and one without.")(
        sample
    )
    group.command("download", help="Download historical bars of a provider into the catalogue.")(data_download.download)
    app.add_typer(group, name="data")


def check(
    files: Files = None,
    trades: Trades = False,
    settings: SettingsFile = None,
    calendar: CalendarName = None,
    session: SessionChoice = None,
    timezone: Timezone = None,
    interval: Interval = None,
    symbol: Symbol = None,
    date_order: DateOrder = None,
    decimal: DecimalMark = None,
    volume: Volume = None,
    time_is: TimeIs = None,
    json_target: JsonTarget = None,
) -> None:
    """Print the contents of files or of the catalogue, and the findings. The exit code is 1 if there is a finding."""
    from configs.settings import load_settings
    from dataflows.research.data_check import check_catalog, check_files
    from dataflows.research.trade_file_check import TradeFileCheck, check_trade_files

    of_bars = {"session": session, "symbol": symbol, "decimal": decimal, "volume": volume, "time_is": time_is}
    if trades:
        _require_no_bar_options(of_bars | {"interval": interval})
    options = of_bars | {"calendar": calendar, "timezone": timezone, "date_order": date_order}
    feed_settings = replace(load_settings(settings).market_data.files, **feed_values(options, interval))
    require_output("--json", json_target)
    checks: list[FileCheck] | list[TradeFileCheck]
    if trades:
        checks = list(check_trade_files(files or [], feed_settings))
    elif files:
        checks = list(check_files(files, feed_settings))
    else:
        checks = list(check_catalog(catalog_commands.own_catalog(), feed_settings))
    if json_target is not None:
        text = json.dumps([asdict(one) for one in checks], indent=2)
        write_output("--json", json_target, f"{text}\n")
    if json_target != "-":
        for one in checks:
            for line in _lines_of_trades(one) if isinstance(one, TradeFileCheck) else _lines(one):
                print(line)
    if any(one.findings for one in checks):
        raise typer.Exit(1)


def sample(
    folder: Annotated[Path, typer.Argument(help="Folder to write the files into.")] = Path("sample"),
) -> None:
    from dataflows.research.invented_bars import write_sample_files

    for line in write_sample_files(folder):
        print(line)


def _require_no_bar_options(options: dict[str, str | None]) -> None:
    """Raises BadInput if an option is set that applies to bars only."""
    from schemas.errors import BadInput

    given = [f"--{name.replace('_', '-')}" for name, text in options.items() if text is not None]
    if given:
        raise BadInput(f"{given[0]} applies to files of bars, and --trades checks files of trades; remove one of them")


def _lines(one: FileCheck) -> Iterable[str]:
    from dataflows.research.symbol_check import EXAMPLES_MAX

    yield one.file
    if one.error is None:
        order = "in order of time" if one.is_ordered else "not in order of time (sorted when read)"
        yield f"  rows            {one.rows:,} from {one.first} to {one.last}, {order}"
        distances = ", ".join(f"{text} ({count:,})" for text, count in one.intervals.items())
        yield f"  interval        {one.interval}; distances between rows: {distances or 'none'}"
        phases = ", ".join(f"{phase} {count:,}" for phase, count in one.session_rows.items())
        yield f"  sessions        {one.session}; rows by session: {phases}"
        if one.suspected_zone is not None:
            yield f"  suspected zone  {one.suspected_zone}: more rows would lie in the regular session"
        yield f"  duplicates      {one.duplicates:,}"
        yield f"  rejected rows   {one.rejected:,}"
        if one.no_volume:
            yield f"  without volume  {one.no_volume:,} rows, which are not trades"
    for symbol, symbol_check in one.symbols.items():
        traded = "–" if symbol_check.coverage is None else f"{symbol_check.coverage:.1%}"
        bars = f"{counted(symbol_check.bars, 'bar', 'bars')} on {counted(symbol_check.days, 'day', 'days')}"
        regular = f"{symbol_check.regular_share:.0%} in regular hours"
        yield f"  {symbol:<15} {bars}, {regular}; {traded} of the intervals traded"
        if symbol_check.largest_gap is not None:
            gap, gaps = symbol_check.largest_gap, counted(symbol_check.gaps, "gap", "gaps")
            yield f"                  {gaps}, the largest {counted(gap['bars'], 'bar', 'bars')} from {gap['time']}"
        if symbol_check.missing_days:
            sessions = counted(len(symbol_check.missing_days), "session", "sessions")
            days = ", ".join(map(str, symbol_check.missing_days[:EXAMPLES_MAX]))
            yield f"                  {sessions} without a row: {days}"
    yield from _lines_of_findings(one.findings)


def _lines_of_trades(one: TradeFileCheck) -> Iterable[str]:
    yield one.file
    if one.error is None and one.trades:
        yield f"  trades          {one.trades:,} from {one.first} to {one.last}"
        yield f"  sessions        {', '.join(f'{phase} {count:,}' for phase, count in one.session_trades.items())}"
    if one.error is None:
        yield f"  duplicates      {one.duplicates:,}"
        yield f"  rejected rows   {sum(one.rejected.values()):,}"
    for symbol, of_symbol in one.symbols.items():
        trades = counted(of_symbol.trades, "trade", "trades")
        yield f"  {symbol:<15} {trades} of {of_symbol.size:,.10g} units on {counted(of_symbol.days, 'day', 'days')}"
        if of_symbol.largest_gap is not None:
            gap = of_symbol.largest_gap
            yield f"                  longest time without a trade in a session: {gap['seconds']} s from {gap['time']}"
    yield from _lines_of_findings(one.findings)


def _lines_of_findings(findings: list[str]) -> Iterable[str]:
    for finding in findings:
        yield f"  finding: {finding}"
    if not findings:
        yield "  no finding"
