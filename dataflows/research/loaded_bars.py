"""Read bars into a pandas frame, and write a frame as the file that a backtest reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd

from configs.settings import Settings
from dataflows.replay.recorded_feed import RecordedFeed, RecordedPeriod
from dataflows.replay.recording import read_topics
from dataflows.research.bar_sources import recorded_symbols, selected_symbols
from dataflows.research.price_adjustment import adjusted_frame
from dataflows.research.recorded_platform import recorded_platform
from dataflows.sources.catalog.bar_catalog import BarCatalog, catalog_folder
from dataflows.sources.catalog.catalog_paths import is_catalog_path
from dataflows.sources.file_feed import FileFeed
from operators.bar_completion import FeedSettings
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import TOPIC_OF, Bar
from schemas.suggestions import did_you_mean

BAR_COLUMNS = ("time", "symbol", "open", "high", "low", "close", "volume")
BarPaths = str | Path | Sequence[str | Path]
BarsArgument = BarPaths | pd.DataFrame
"""Files, folders, `catalog:SPY,AAPL`, `topics:SPY,AAPL`, or a frame with the columns `BAR_COLUMNS`."""
_FRAME_FILE = "frame.parquet"
_WARNINGS = "warnings"
_SLICES_PER_READ = 1000


class BarFiles(NamedTuple):
    """Files of bars, and what was wrong with them when a frame was loaded from them."""

    paths: list[Path]
    warnings: list[str]


def load_bars(
    bars: BarPaths,
    *,
    start: str | None = None,
    end: str | None = None,
    symbols: Iterable[str] | None = None,
    calendar: str | None = None,
    session: str | None = None,
    interval: str | None = None,
    timezone: str | None = None,
    adjusted: str | None = None,
) -> pd.DataFrame:
    """Return bars as a frame with the columns time, symbol, open, high, low, close and volume.

    `bars` are CSV or Parquet files, folders of them, the catalogue (`catalog:SPY,AAPL`, `catalog:*` for all symbols),
    or the recorded topics of the platform, running or stopped (`topics:SPY,AAPL`, `topics:`). `time` is the open of a
    bar, in UTC. Rows are ordered by time and symbol. They are the rows that a backtest trades: without malformed rows,
    duplicates, rows outside the sessions and intervals without a trade. `frame.attrs["warnings"]` lists what makes the
    data doubtful.

    `start` and `end` are ISO dates or times; bars that open in [start, end) are read. `symbols` None means all.
    `adjusted` is "splits" or "all" for bars of the catalogue in the shares of today (`data adjust`). The other
    arguments are those of the command `backtest`. Raises BadInput if the files are missing or malformed, and
    Unavailable if the catalogue is damaged or there are no recorded topics.
    """
    selected = symbol_names(symbols)
    given = {"start": start, "end": end, "symbols": selected, "calendar": calendar, "session": session}
    given |= {"bar_interval": interval, "timezone": timezone}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    paths, settings = bar_paths(bars), replace(FeedSettings(), **values)
    if adjusted is not None and not all(map(is_catalog_path, paths)):
        raise BadInput(f"adjusted applies to bars of the catalogue, such as catalog:SPY, found {paths[0]}")
    if (recorded := recorded_symbols(paths)) is not None:
        _require_no_file_options(values)
        return _load_recorded(selected_symbols(recorded, selected), settings)
    feed = FileFeed(paths, settings)
    frame = _frame(feed)
    frame.attrs[_WARNINGS] = feed.warnings()
    if adjusted is None:
        return frame
    return adjusted_frame(frame, BarCatalog(catalog_folder()), adjusted, settings.calendar)


def _load_recorded(symbols: tuple[str, ...] | None, settings: FeedSettings) -> pd.DataFrame:
    period = RecordedPeriod(symbols, settings.start_ns, settings.end_ns)
    with recorded_platform() as platform:
        feed = RecordedFeed(lambda: read_topics(platform.kafka, "research", (TOPIC_OF[Bar],)), period, 0)
        return _frame(chain.from_iterable(iter(lambda: feed.take(_SLICES_PER_READ), [])))


def _require_no_file_options(values: Mapping[str, Any]) -> None:
    """Raise BadInput for options of files."""
    for name in ("calendar", "session", "bar_interval"):
        if name in values:
            raise BadInput(f"{name.removeprefix('bar_')} applies to files; recorded bars have that of the platform")


def _frame(time_slices: Iterable[TimeSlice]) -> pd.DataFrame:
    rows = [
        (bar.open_ns, bar.symbol, bar.open, bar.high, bar.low, bar.close, bar.volume)
        for time_slice in time_slices
        for bar in time_slice.records
        if type(bar) is Bar and bar.traded
    ]
    frame = pd.DataFrame.from_records(rows, columns=list(BAR_COLUMNS))
    frame["time"] = pd.to_datetime(frame["time"], unit="ns", utc=True)
    return frame


def symbol_names(symbols: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the symbols. Raises BadInput for one text, which is most likely one symbol."""
    if isinstance(symbols, str):
        raise BadInput(f"symbols must be a list of names, found the text {symbols!r}; pass [{symbols!r}]")
    return None if symbols is None else tuple(symbols)


def bar_paths(bars: BarPaths) -> list[Path]:
    """Return the paths of files and folders, and other sources of bars as paths. Raises BadInput for another type."""
    entries: list[Any] = [bars] if isinstance(bars, str | Path) else list(bars)
    for entry in entries:
        if not isinstance(entry, str | Path):
            raise BadInput(
                f"bars must be files, a folder or a pandas frame, found an entry of type {type(entry).__name__}"
            )
    return [Path(entry).expanduser() for entry in entries]


@contextmanager
def bar_files(bars: BarsArgument, settings: Settings) -> Iterator[BarFiles]:
    """Yield the files to read. A frame is written to a temporary Parquet file until the block ends. Raises BadInput."""
    if not isinstance(bars, pd.DataFrame):
        paths = bar_paths(bars)
        if recorded_symbols(paths) is not None:
            raise BadInput(f"recorded bars are read once: pass load_bars({str(paths[0])!r}) instead of the text")
        yield BarFiles(paths, [])
        return
    frame = _checked(bars, settings.market_data.files.symbol)
    with TemporaryDirectory(prefix="bars-") as folder:
        path = Path(folder) / _FRAME_FILE
        frame.to_parquet(path, index=False, compression="lz4")
        yield BarFiles([path], list(bars.attrs.get(_WARNINGS, ())))


def _checked(frame: pd.DataFrame, symbol: str | None) -> pd.DataFrame:
    """Return the columns of a frame of bars. The index may hold the times. Raises BadInput for a missing column."""
    names = {str(name).lower(): name for name in frame.columns}
    columns = {name: frame[names[name]] for name in BAR_COLUMNS if name in names}
    if "time" not in columns and isinstance(frame.index, pd.DatetimeIndex):
        columns["time"] = frame.index.to_series()
    if "symbol" not in columns and symbol is not None:
        columns["symbol"] = pd.Series(symbol, index=frame.index)
    for name in BAR_COLUMNS:
        if name not in columns:
            found, expected = ", ".join(map(str, frame.columns)) or "none", ", ".join(BAR_COLUMNS)
            hint = " (or pass symbol=)" if name == "symbol" else ""
            suggestion = did_you_mean(name, names)
            raise BadInput(
                f"the frame of bars has no column {name!r}{hint}: expected {expected}, found {found}{suggestion}"
            )
    if frame.empty:
        raise BadInput("the frame of bars has no rows")
    return pd.DataFrame({name: columns[name].array for name in BAR_COLUMNS})
