"""Import files of bars into the catalogue: the rows that a backtest of the files trades, one month at a time.

Each month is on the disk before the next one is read, so that memory is bounded by one month of all symbols. An import
that is killed and started again finds its months, and adds nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from dataflows.sources.catalog.bar_catalog import (
    SCHEMA,
    AddedBars,
    BarCatalog,
    CatalogOrigin,
    month_bounds_ns,
    month_of,
)
from dataflows.sources.file_feed import FileFeed
from operators.bar_completion import FeedSettings, interval_text
from schemas.counted import counted
from schemas.errors import BadInput
from schemas.records import Bar

BarRows = dict[str, list[tuple[int, str, float, float, float, float, float]]]
"""Rows in the order of the columns of the catalogue, by symbol."""


class ImportedBars(NamedTuple):
    """What an import did: interval, symbols, counts, and what makes the files doubtful, one sentence each."""

    interval: str
    symbols: list[str]
    added: AddedBars
    warnings: list[str]


def import_files(
    catalog: BarCatalog,
    paths: Sequence[Path],
    settings: FeedSettings,
    *,
    source: str | None = None,
    on_month: Callable[[str], None] = lambda month: None,
    now_ns: Callable[[], int] = time.time_ns,
) -> ImportedBars:
    """Add the bars of files to the catalogue. `source` names them, by default by the names of the files.

    `on_month` receives each month that is stored. Raises BadInput, before anything is stored, if the rows do not prove
    the interval of the bars, or if their times are probably in another zone.
    """
    feed = FileFeed(paths, settings)
    for warning in (*feed.scan.interval_warnings(settings), *feed.scan.zone_warnings(feed.settings)):
        raise BadInput(f"nothing was imported: {warning}")
    assert feed.settings.interval_s is not None, "the feed has resolved it"
    interval = interval_text(feed.settings.interval_s)
    names = sorted({scan.path.name for scan in feed.scan.files})
    label = source or (names[0] if len(names) == 1 else f"{names[0]} and {counted(len(names) - 1, 'file', 'files')}")
    origin = CatalogOrigin(label, feed.settings.calendar, now_ns())
    added, symbols = AddedBars(), set[str]()
    for month, rows in _months(feed):
        for symbol, symbol_rows in rows.items():
            added = added.plus(catalog.add(interval, symbol, bar_table(symbol_rows), origin))
        symbols |= rows.keys()
        on_month(month)
    return ImportedBars(interval, sorted(symbols), added, feed.warnings() + _closed_warnings(feed))


def _months(feed: FileFeed) -> Iterator[tuple[str, BarRows]]:
    """Yield the bars of each month. The feed is in order of time."""
    rows: BarRows = {}
    month, end_ns = "", -1
    for time_slice in feed:
        for bar in time_slice.records:
            if type(bar) is not Bar or not bar.traded:
                continue
            if bar.open_ns >= end_ns:
                if rows:
                    yield month, rows
                month, rows = month_of(bar.open_ns), {}
                end_ns = month_bounds_ns(month)[1]
            row = (bar.open_ns, bar.symbol, bar.open, bar.high, bar.low, bar.close, bar.volume)
            rows.setdefault(bar.symbol, []).append(row)
    if rows:
        yield month, rows


def bar_table(rows: Sequence[tuple[int, str, float, float, float, float, float]]) -> pa.Table:
    """Return rows as a table with the columns of the catalogue."""
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.table([pa.array(values, f.type) for values, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _closed_warnings(feed: FileFeed) -> list[str]:
    closed = feed.counts.closed + feed.counts.left_out
    if not closed:
        return []
    rows = counted(closed, "row lies", "rows lie")
    return [f"{rows} outside the sessions of {feed.settings.calendar} ({feed.settings.session}), and was left out"]
