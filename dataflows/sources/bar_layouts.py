"""Layouts of bar files: which column holds what, for files of the usual vendors and of this platform.

`COLUMNS` lists the accepted names of each field. `HEADERLESS_LAYOUTS` and `FILE_NAMES` have one row per vendor, with
its source. A new vendor is a new row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.errors import BadInput

FIELDS = ("open", "high", "low", "close", "volume")
TIME_NAMES = (
    *("ts_open_utc", "ts_open", "open_time", "open time", "window_start", "timestamp", "datetime", "date_time"),
    *("date/time", "gmt time", "local time", "time", "ts", "unix", "date", "trade_date", "day", "t"),
    *("__index_level_0__", ""),
)
"""In order of preference; "" is the unnamed first column that pandas writes for an index. Dukascopy writes the time as
`Gmt time` or `Local time`, Polygon's flat files as `window_start`, TradeStation as `Date` and `Time`. Files of Binance
klines have `Open time` or `open_time`, according to the program that saved them.
"""
DATE_NAMES = ("date", "trade_date", "day")
TIME_OF_DAY_NAMES = ("time", "time_of_day")
SYMBOL_NAMES = ("symbol", "ticker", "sym")
FIELD_NAMES = (
    ("open", "o", "1. open"),
    ("high", "h", "2. high"),
    ("low", "l", "3. low"),
    ("close", "c", "4. close", "close/last"),
    ("volume", "vol", "v", "5. volume", "6. volume", "tickvol", "volume base", "volume_base"),
)
"""In the order of FIELDS. Alpha Vantage numbers its names (the volume follows an adjusted close in some files),
MetaTrader 5 writes `<TICKVOL>`, Nasdaq `Close/Last`.
"""
DOLLAR_NAMES = ("close/last",)
"""Names of columns that occur only in files whose prices begin with a dollar sign: those of Nasdaq."""


class HeaderlessLayout(NamedTuple):
    """A vendor whose files have no header line: `columns` if the first line has the shape `first_line`."""

    vendor: str
    first_line: re.Pattern[str]
    columns: tuple[str, ...]
    source: str


_NUMBER = r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
_DAY, _CLOCK = r"\d{1,2}/\d{1,2}/\d{4}", r"\d{1,2}:\d{2}(?::\d{2})?"


def _shape(start: str, numbers: int) -> re.Pattern[str]:
    return re.compile(start + rf"(?:[,;\t]{_NUMBER}){{{numbers}}}")


HEADERLESS_LAYOUTS = (
    HeaderlessLayout(
        "Binance klines",
        _shape(r"\d{13,16}", 11),
        (
            *("open_time", *FIELDS, "close_time", "quote_volume", "count"),
            *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
        ),
        "github.com/binance/binance-public-data: Klines (us since 2025)",
    ),
    HeaderlessLayout(
        "Kibot intraday",
        _shape(f"{_DAY}[,;\t]{_CLOCK}", 5),
        ("date", "time", *FIELDS),
        "kibot.com/support.aspx: Data Format",
    ),
    HeaderlessLayout("Kibot daily", _shape(_DAY, 5), ("date", *FIELDS), "kibot.com/support.aspx: Data Format"),
    HeaderlessLayout(
        "FirstRate Data",
        _shape(rf"\d{{4}}-\d{{2}}-\d{{2}}(?: {_CLOCK})?", 5),
        ("datetime", *FIELDS),
        "firstratedata.com/about/FAQ: text files without header",
    ),
    HeaderlessLayout(
        "FirstRate Data, indices",
        _shape(rf"\d{{4}}-\d{{2}}-\d{{2}}(?: {_CLOCK})?", 4),
        ("datetime", *FIELDS[:-1]),
        "firstratedata.com: indices, which have no volume",
    ),
    HeaderlessLayout(
        "MetaTrader 4",
        _shape(rf"\d{{4}}\.\d{{2}}\.\d{{2}}[,;\t]{_CLOCK}", 5),
        ("date", "time", *FIELDS),
        "MetaTrader 4: History Center, Export",
    ),
    HeaderlessLayout(
        "HistData, NinjaTrader",
        _shape(r"\d{8} \d{6}", 5),
        ("datetime", *FIELDS),
        "histdata.com/f-a-q/data-files-detailed-specification, NinjaTrader: Import",
    ),
)


class FileName(NamedTuple):
    """A vendor's pattern of file names without their ending; the group `symbol` is the symbol."""

    vendor: str
    pattern: re.Pattern[str]
    source: str


FILE_NAMES = (
    FileName(
        "Alpha Vantage",
        re.compile(r"(?:intraday(?:_extended)?_\d+min|(?:daily|weekly|monthly)(?:_adjusted)?)_(?P<symbol>[^_]+)"),
        "alphavantage.co/documentation: datatype=csv",
    ),
    FileName(
        "Alpha Vantage, currencies",
        re.compile(r"(?:fx|currency)_(?:intraday_\d+min|daily|weekly|monthly)_(?P<symbol>[^_]+_[^_]+)"),
        "alphavantage.co/documentation: fx_daily_EUR_USD, currency_daily_BTC_USD",
    ),
    FileName(
        "TradingView",
        re.compile(r"[A-Z0-9_]+_(?P<symbol>[^,_ ]+), ?\d*[SDWMHh]?(?:[ _].*)?"),
        "tradingview.com: Export chart data, EXCHANGE_SYMBOL, PERIOD.csv; the exchange may be CME_MINI",
    ),
    FileName(
        "Binance klines",
        re.compile(r"(?P<symbol>[A-Z0-9]+)-\d+(?:s|m|h|d|w|mo|M)(?:-\d{4}-\d{2}(?:-\d{2})?)?"),
        "github.com/binance/binance-public-data",
    ),
    FileName(
        "HistData",
        re.compile(r"DAT_[A-Z]+_(?P<symbol>[A-Z0-9]+)_[A-Z]\w*_\d+"),
        "histdata.com: DAT_ASCII_EURUSD_M1_2023",
    ),
    FileName(
        "Stooq",
        re.compile(r"(?P<symbol>[a-z0-9.^-]+)(?:[._](?:us|uk|de|jp|pl|hu|hk)(?:_[dwm5h])?|_[dwm])"),
        "stooq.com/db",
    ),
    FileName(
        "FirstRate Data, Kibot, MetaTrader, Yahoo, this platform",
        re.compile(r"(?P<symbol>[^_]+)(?:_.*)?"),
        "SYMBOL_anything",
    ),
)
"""In this order; the last row takes every other name, up to its first underscore."""


class BarColumns(NamedTuple):
    """Column numbers of each field. `date` is None unless the time is the time of day beside a date column; `symbol` is
    None if the file has no symbol column.
    """

    names: tuple[str, ...]
    time: int
    date: int | None
    symbol: int | None
    fields: tuple[int | None, ...]  # in the order of FIELDS; only the volume can be None

    @property
    def times(self) -> tuple[int, ...]:
        return (self.time,) if self.date is None else (self.date, self.time)


def normalize_name(name: str) -> str:
    """Return a column name in lower case without decoration: `<DATE>` of Stooq and MetaTrader is `date`."""
    return name.strip().lstrip("\ufeff").strip().removeprefix("<").removesuffix(">").lower()


def headerless_columns(line: str) -> tuple[str, ...] | None:
    """Return the columns of a file without a header line, from its first line, or None if the line is a header."""
    text = line.strip().lstrip("\ufeff")
    return next((layout.columns for layout in HEADERLESS_LAYOUTS if layout.first_line.fullmatch(text)), None)


class YahooHeader(NamedTuple):
    """The header of three lines that yfinance writes: `Price,Close,…`, `Ticker,AAPL,…`, `Date,,…`.

    With `group_by="ticker"`, the second line is the first. Older releases do not write `Price` and `Ticker`.
    """

    names: tuple[str, ...]
    symbol: str


def yahoo_header(lines: Sequence[Sequence[str]], file_label: str) -> YahooHeader | None:
    """Return the columns and the symbol of a yfinance file from the fields of its first lines, or None.

    Source: ranaroussi/yfinance, `download(...).to_csv(...)`. Raises BadInput for a file of several symbols.
    """
    if len(lines) < 3 or any(lines[2][1:]):
        return None
    first, second, (time_name, *_) = lines[:3]
    titles = (first[0], second[0])
    if titles == ("Ticker", "Price"):
        first, second = second, first
    elif titles not in (("Price", "Ticker"), ("", "")) or time_name not in ("", "Date", "Datetime"):
        return None
    symbols = sorted({name for name in second[1:] if name})
    if len(symbols) != 1:
        raise BadInput(f"{file_label} has columns of several symbols, found {', '.join(symbols)}; save one per file")
    return YahooHeader((time_name or "Date", *first[1:]), symbols[0])


def find_columns(
    names: Sequence[str], file_label: str, *, has_volume: bool = True, time_has_date: bool = True
) -> BarColumns:
    """Find columns by their usual names, ignoring case. Raises BadInput if one is missing.

    Without `has_volume`, a volume column is ignored. `time_has_date`: whether a value of the column `time`
    contains its date; otherwise the column `date` beside it does.
    """
    lower = [normalize_name(name) for name in names]

    def find(accepted_names: Sequence[str]) -> int | None:
        return next((lower.index(name) for name in accepted_names if name in lower), None)

    time, fields = find(TIME_NAMES), [find(accepted_names) for accepted_names in FIELD_NAMES]
    date = None
    if time is not None and lower[time] in TIME_OF_DAY_NAMES and not time_has_date:
        date = find(DATE_NAMES)
    if not has_volume:
        fields[-1] = None
    required = FIELDS if has_volume else FIELDS[:-1]
    missing = [field for field, index in zip(("time", *required), (time, *fields), strict=False) if index is None]
    if time is None or missing:
        raise BadInput(
            f"{file_label} has no column for {', '.join(missing)}; its columns are {', '.join(names)[:200]}"
            f"{_missing_hint(names, missing)}"
        )
    return BarColumns(tuple(names), time, date, find(SYMBOL_NAMES), tuple(fields))


def _missing_hint(names: Sequence[str], missing: Sequence[str]) -> str:
    if missing == ["volume"]:
        return "; for a vendor without volume, set market_data.files.volume (--volume) to none"
    if len(names) == 1:
        return "; columns must be separated by commas, semicolons or tabs"
    if sum(re.fullmatch(_NUMBER, name.strip()) is not None for name in names) >= len(FIELDS) - 1:
        return "; the first line must name the columns, such as time,open,high,low,close,volume"
    return ""


def symbol_from_file_name(path: Path, endings: Sequence[str]) -> str:
    """Return `AAPL` for `AAPL_2013.csv.gz`, and for `BATS_AAPL, 5.csv` of TradingView.

    >>> symbol_from_file_name(Path("x/BRK.B_2013-10-07.csv"), (".csv",))
    'BRK.B'
    >>> symbol_from_file_name(Path("BTCUSDT-1m-2024-01.csv"), (".csv",))
    'BTCUSDT'
    """
    name = path.name
    ending = next((e for e in endings if name.lower().endswith(e)), "")
    stem = re.sub(r" ?\(\d+\)$", "", name[: len(name) - len(ending)])  # browsers number repeated downloads
    for row in FILE_NAMES:
        match = row.pattern.fullmatch(stem)
        if match is not None:
            symbol = match["symbol"].replace("_", "-")
            return symbol.upper() if row.vendor == "Stooq" else symbol
    return stem
