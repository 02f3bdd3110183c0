"""`data`: check files of bars before a backtest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.bar_file_options import (
    CalendarName,
    DateOrder,
    DecimalMark,
    Interval,
    Session,
    Symbol,
    TimeIs,
    Timezone,
    Volume,
    feed_values,
)
from schemas.counted import counted

if TYPE_CHECKING:
    from dataflows.research.data_check import FileCheck

Files = Annotated[list[Path], typer.Argument(help="CSV or Parquet bar files, or folders of them.")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Settings file. Its values override the default settings.")
]
JsonTarget = Annotated[
    str | None, typer.Option("--json", help="Write the whole result as JSON to this file; - for standard output.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Check files of bars.", no_args_is_help=True)
    group.command("check", help="Check bar files: intervals, gaps, duplicates, outliers, sessions, zones and splits.")(
        check
    )
    app.add_typer(group, name="data")


def check(
    files: Files,
    settings: SettingsFile = None,
    calendar: CalendarName = None,
    session: Session = None,
    timezone: Timezone = None,
    interval: Interval = None,
    symbol: Symbol = None,
    date_order: DateOrder = None,
    decimal: DecimalMark = None,
    volume: Volume = None,
    time_is: TimeIs = None,
    json_target: JsonTarget = None,
) -> None:
    """Print the contents of the files and the findings. The exit code is 1 if there is a finding."""
    from configs.settings import load_settings
    from dataflows.research.data_check import check_files

    options = {"calendar": calendar, "session": session, "timezone": timezone, "symbol": symbol}
    options |= {"date_order": date_order, "decimal": decimal, "volume": volume, "time_is": time_is}
    feed_settings = replace(load_settings(settings).market_data.files, **feed_values(options, interval))
    checks = list(check_files(files, feed_settings))
    if json_target is not None:
        text = json.dumps([asdict(one) for one in checks], indent=2)
        if json_target == "-":
            print(text)
        else:
            Path(json_target).write_text(f"{text}\n")
    if json_target != "-":
        for line in _lines(checks):
            print(line)
    if any(one.findings for one in checks):
        raise typer.Exit(1)


def _lines(checks: Iterable[FileCheck]) -> Iterable[str]:
    from dataflows.research.symbol_check import EXAMPLES_MAX

    for one in checks:
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
                yield f"  without volume  {one.no_volume:,} rows, which are no trades"
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
        for finding in one.findings:
            yield f"  finding: {finding}"
        if not one.findings:
            yield "  no finding"
