"""The commands of `data` that use the catalogue of bars: import, list, adjust, export, and removal of months."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

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
from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.time_arguments import format_ns, parse_time_ns
from schemas.counted import counted
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from dataflows.sources.catalog.bar_catalog import AddedBars, BarCatalog, CatalogSeries
    from schemas.records import CorporateAction

Files = Annotated[list[Path], typer.Argument(help="CSV or Parquet bar files, or folders of them.")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Settings file. Its values override the default settings.")
]
Source = Annotated[str | None, typer.Option(help="Name of the source, such as the vendor. Default: the files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Symbols = Annotated[list[str], typer.Argument(help="Symbols in the catalogue, or * for all.")]
SeriesInterval = Annotated[
    str | None, typer.Option(help="Interval of the bars, such as 1m or 1d. Default: the only one of these symbols.")
]
Output = Annotated[Path, typer.Option(help="CSV or Parquet file to write.")]
Start = Annotated[str | None, typer.Option("--from", help="Only bars that open at or after this ISO date or time.")]
End = Annotated[str | None, typer.Option("--to", help="Only bars that open before this ISO date or time.")]
Adjusted = Annotated[
    str | None, typer.Option(help="splits, or all with dividends: prices in the shares of today (see `data adjust`).")
]
ActionFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--reference-data",
        help="CSV, JSON lines or Parquet file of corporate actions. Can be repeated. Default: the recorded topics.",
    ),
]
Currency = Annotated[str, typer.Option(help="Currency of the prices.")]
UniverseName = Annotated[str, typer.Argument(help="Name of the universe, such as sp500.")]
MembersFile = Annotated[
    Path | None,
    typer.Argument(help="CSV file with the columns symbol, from and to. Without it, list the members."),
]
OnDay = Annotated[str | None, typer.Option("--on", help="List only the members on this day, such as 2024-03-07.")]
Months = Annotated[
    list[str] | None, typer.Option("--month", help="Month to remove, such as 2024-03 (default: all). Can be repeated.")
]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `data`."""
    group.command("import", help="Add the bars of files to the catalogue.")(import_files)
    group.command("list", help="List the symbols of the catalogue with their bars and sources.")(list_series)
    group.command(
        "adjust",
        help="Compute the factors of splits and dividends for symbols of the catalogue. Bars stay as they are.",
    )(adjust)
    group.command("universe", help="Store the members of a universe, or list those of a day. Use it as catalog:@NAME.")(
        universe
    )
    group.command("export", help="Write bars of the catalogue to one file.")(export)
    group.command("rm", help="Remove months of a symbol from the catalogue, such as damaged ones.")(remove)


def import_files(
    files: Files,
    source: Source = None,
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
) -> None:
    """Add bars to the catalogue. The exit code is 1 if something makes the files doubtful."""
    from configs.settings import load_settings
    from dataflows.research import catalog_import

    options = {"calendar": calendar, "session": session, "timezone": timezone, "symbol": symbol}
    options |= {"date_order": date_order, "decimal": decimal, "volume": volume, "time_is": time_is}
    feed_settings = replace(load_settings(settings).market_data.files, **feed_values(options, interval))
    with one_line_errors(), Console(stderr=True).status("importing") as status:
        imported = catalog_import.import_files(
            own_catalog(),
            files,
            feed_settings,
            source=source,
            on_month=lambda month: status.update(f"imported up to {month}"),
        )
    symbols = counted(len(imported.symbols), "symbol", "symbols")
    print(f"{symbols}, bars of {imported.interval}: {added_text(imported.added)}")
    for warning in imported.warnings:
        print(f"warning: {warning}")
    if imported.warnings:
        raise typer.Exit(1)


def added_text(added: AddedBars) -> str:
    """Return the counts of added bars in words."""
    return f"{added.new:,} new, {added.changed:,} changed, {added.same:,} known"


def list_series(as_json: AsJson = False) -> None:
    catalog = own_catalog()
    with one_line_errors():
        listed = catalog.series()
    if as_json:
        trees = [{"interval": one.interval, "symbol": one.symbol} | _figures(one) for one in listed]
        print(json.dumps({"folder": str(catalog.folder), "series": trees}, indent=2))
        return
    if not listed:
        print(f"the catalogue {catalog.folder} is empty; add bars with `data download` or `data import`")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("symbol", "interval", "first bar", "last bar"):
        table.add_column(title)
    for title in ("months", "bars", "bytes"):
        table.add_column(title, justify="right")
    for title in ("as of", "sources"):
        table.add_column(title)
    for one in listed:
        values = _figures(one)
        numbers = [f"{len(one.months):,}", f"{one.rows:,}", f"{values['bytes']:,}"]
        texts = [values["first"] or "–", values["last"] or "–"]
        table.add_row(one.symbol, one.interval, *texts, *numbers, values["as_of"], ", ".join(values["sources"]))
    Console(width=160).print(table)


def _figures(one: CatalogSeries) -> dict[str, Any]:
    filled = [month for month in one.months if month.rows]
    return {
        "first": format_ns(filled[0].first_ns) if filled else None,
        "last": format_ns(filled[-1].last_ns) if filled else None,
        "bars": one.rows,
        "bytes": sum(month.bytes for month in one.months),
        "calendar": one.months[-1].calendar,
        "as_of": format_ns(max(month.as_of_ns for month in one.months)),
        "sources": list(dict.fromkeys(source for month in one.months for source in month.sources)),
        "months": [month._asdict() for month in one.months],
    }


def adjust(
    symbols: Symbols,
    reference_data: ActionFiles = None,
    currency: Currency = "USD",
    as_json: AsJson = False,
) -> None:
    from dataflows.research.price_adjustment import adjust_symbol
    from dataflows.sources.catalog.catalog_paths import catalog_symbols
    from dataflows.sources.row_times import day_text
    from deploy.commands.reference import reference_records
    from schemas.records import CorporateAction

    catalog = own_catalog()
    names = catalog_symbols(catalog, ",".join(symbols))
    if reference_data:
        records = [record for file in reference_data for record in reference_records(file)]
        actions = [record for record in records if isinstance(record, CorporateAction)]
    else:
        actions = _recorded_actions()
    with one_line_errors():
        adjusted = [adjust_symbol(catalog, name, actions, time.time_ns(), currency) for name in names]
    if as_json:
        trees = [one._asdict() | {"factors": [factor._asdict() for factor in one.factors]} for one in adjusted]
        print(json.dumps(trees, indent=2))
        return
    for one in adjusted:
        print(f"{one.symbol}: {counted(len(one.factors), 'factor', 'factors')}")
        for factor in one.factors:
            print(f"  before {day_text(factor.ex_date)}  {factor.kind:<14}  price × {factor.price_factor:.9g}")
        for sentence in one.left_out:
            print(f"  warning: {sentence}")


def universe(name: UniverseName, file: MembersFile = None, on: OnDay = None) -> None:
    from configs.universe_files import read_members
    from dataflows.sources.catalog.universes import store_universe, stored_universe
    from dataflows.sources.row_times import day_text
    from operators.strategies.universe_rules import UniverseMember

    catalog = own_catalog()
    if file is not None:
        members = read_members(file)
        with one_line_errors():
            store_universe(catalog, name, members)
        print(f"{name}: {counted(len({member.symbol for member in members}), 'symbol', 'symbols')}")
        return
    with one_line_errors():
        listed = stored_universe(catalog, name)
    if on is not None:
        listed = [member for member in listed if member.contains(_day("--on", on))]
    for member in listed:
        first = day_text(member.from_day) if member.from_day else "–"
        last = day_text(member.to_day) if member.to_day != UniverseMember(member.symbol).to_day else "–"
        print(f"{member.symbol:<12} {first:<10}  {last}")


def _day(option: str, text: str) -> int:
    try:
        return int(date.fromisoformat(text).strftime("%Y%m%d"))
    except ValueError:
        raise BadInput(f"{option} must be a day such as 2024-03-07, found {text!r}") from None


def _recorded_actions() -> list[CorporateAction]:
    """Return the corporate actions of the recorded topics."""
    from dataflows.replay.recording import read_topics
    from deploy.recovery.recorded_topics import recorded_settings
    from schemas.records import TOPIC_OF, CorporateAction

    with one_line_errors(), recorded_settings(home_from_environment(), lambda _: None) as settings:
        slices = read_topics(settings.kafka, "adjust", (TOPIC_OF[CorporateAction],))
        return [record for one in slices for record in one.records if isinstance(record, CorporateAction)]


def export(
    symbols: Symbols,
    output: Output,
    interval: SeriesInterval = None,
    start: Start = None,
    end: End = None,
    adjusted: Adjusted = None,
) -> None:
    from dataflows.research.catalog_export import export_bars
    from dataflows.research.frame_files import check_output
    from dataflows.sources.catalog.bar_catalog import interval_of, symbol_of

    check_output("--output", output)
    start_ns, end_ns = parse_time_ns("--from", start), parse_time_ns("--to", end)
    folders = series_folders(symbols, interval)
    names = [symbol_of(folder) for folder in folders]
    with one_line_errors():
        count = export_bars(
            own_catalog(),
            interval_of(folders[0]),
            names,
            output,
            start_ns=start_ns,
            end_ns=end_ns,
            adjusted=adjusted,
        )
    print(f"{counted(count, 'bar', 'bars')} of {counted(len(names), 'symbol', 'symbols')} written to {output}")


def remove(symbols: Symbols, interval: SeriesInterval = None, month: Months = None) -> None:
    from dataflows.sources.catalog.bar_catalog import interval_of, symbol_of

    catalog = own_catalog()
    for folder in series_folders(symbols, interval):
        series, symbol = interval_of(folder), symbol_of(folder)
        with one_line_errors():
            known = [one.month for one in catalog.months(series, symbol)]
        unknown = sorted({*(month or ())}.difference(known))
        if unknown:
            raise BadInput(f"the catalogue has no month {unknown[0]} of {symbol}; it has {known[0]} to {known[-1]}")
        with one_line_errors():
            catalog.remove(series, symbol, month or known)
        print(f"{symbol} {series}: removed {counted(len(month or known), 'month', 'months')}")


def series_folders(symbols: list[str], interval: str | None) -> list[Path]:
    """Return the folders of symbols in the catalogue. Raises BadInput for an unknown one."""
    from dataflows.sources.catalog.catalog_paths import CATALOG_PREFIX, catalog_folders
    from operators.bar_completion import parse_interval_s

    interval_s = None if interval is None else parse_interval_s(interval)
    return catalog_folders(f"{CATALOG_PREFIX}{','.join(symbols)}", interval_s)


def own_catalog() -> BarCatalog:
    """Return the catalogue of the state folder."""
    from dataflows.sources.catalog.bar_catalog import BarCatalog, catalog_folder

    return BarCatalog(catalog_folder())


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Raise the error of a damaged catalogue, or of one that cannot be written, as DeployError."""
    try:
        yield
    except Unavailable as error:
        raise DeployError(str(error)) from error
    except OSError as error:
        raise DeployError(f"the catalogue {own_catalog().folder} cannot be written: {error.strerror}") from error
