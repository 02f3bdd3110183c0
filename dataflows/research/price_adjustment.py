"""Factors that adjust earlier bars for splits and dividends. The bars of the catalogue themselves stay as they are.

A bar before the ex-date of an action is multiplied by its factor: of a split, old shares per new share; of a dividend,
(close before the ex-date - dividend) / close. Volumes follow splits only. The factors of several actions multiply.
A backtest needs no adjusted bars: it reads raw bars with `--reference-data`, and books splits and dividends when they
happen. Adjusted bars are for charts, returns over long periods and training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple, get_args
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dataflows.sources.catalog.bar_catalog import BarCatalog
from dataflows.sources.row_times import day_text
from dataflows.sources.trading_calendar import TradingCalendar
from operators.bar_completion import DAY_S, Calendar, parse_interval_s
from operators.ledger.events import share_ratio
from operators.money import ONE
from operators.reference_data import is_valid_action
from schemas.errors import BadInput
from schemas.records import CASH_DIVIDEND, SPLIT, STOCK_DIVIDEND, CorporateAction
from schemas.suggestions import did_you_mean
from sinks.archive.log_manifest import read_rows, write_rows

Adjustment = Literal["splits", "all"]
"""Splits and stock dividends, or these and cash dividends."""
FACTORS_FOLDER = "factors"
_HOUR_NS = 3_600_000_000_000


class PriceFactor(NamedTuple):
    """The factor of one action for the prices and volumes of bars before `ex_date` (yyyymmdd)."""

    ex_date: int
    kind: str
    action_id: str
    price_factor: float
    volume_factor: float
    source: str
    as_of_ns: int


class AdjustedSymbol(NamedTuple):
    """The factors of a symbol, and in words which actions have none."""

    symbol: str
    factors: list[PriceFactor]
    left_out: list[str]


class _DailyCloses(NamedTuple):
    """The last close of each trading day, and the days (yyyymmdd), oldest first."""

    days: list[int]
    closes: list[float]

    def before(self, day: int) -> float | None:
        index = int(np.searchsorted(self.days, day))
        return self.closes[index - 1] if index else None


def adjust_symbol(
    catalog: BarCatalog, symbol: str, actions: Iterable[CorporateAction], as_of_ns: int, currency: str = "USD"
) -> AdjustedSymbol:
    """Compute the factors of a symbol from its actions, and store them in place of earlier ones.

    Cash dividends in another currency than that of the prices, and those before the first bar, have no factor. Nor have
    spin-offs, rights and mergers. Raises Unavailable if the catalogue is damaged.
    """
    own = {one.action_id: one for one in actions if one.symbol == symbol and is_valid_action(one) and one.ex_date}
    ordered = sorted(own.values(), key=lambda action: action.ex_date)
    closes = _daily_closes(catalog, symbol)
    factors, left_out = list[PriceFactor](), list[str]()
    for ex_date, same_day in groupby(ordered, key=lambda action: action.ex_date):
        price = closes.before(ex_date)
        for action in same_day:
            ratio, share = share_ratio(action), 1.0
            if action.kind == CASH_DIVIDEND:
                amount = float(action.amount or 0)
                if action.currency != currency or price is None or not 0 < amount < price:
                    left_out.append(_left_out(action, currency, price))
                    continue
                share = (price - amount) / price
            elif action.kind in (SPLIT, STOCK_DIVIDEND):
                share = float(ONE / ratio)
            else:
                left_out.append(f"{action.kind} of {day_text(ex_date)} has no factor")
                continue
            price = None if price is None else price * share
            factors.append(
                PriceFactor(
                    ex_date=ex_date,
                    kind=action.kind,
                    action_id=action.action_id,
                    price_factor=share,
                    volume_factor=float(ratio),
                    source=action.source,
                    as_of_ns=as_of_ns,
                )
            )
    path = _factors_file(catalog, symbol)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_rows(path, factors)
    return AdjustedSymbol(symbol, factors, left_out)


def _left_out(action: CorporateAction, currency: str, price: float | None) -> str:
    label = f"{action.kind} of {day_text(action.ex_date)}"
    if action.currency != currency:
        return f"{label} is in {action.currency}, and the prices are in {currency}"
    if price is None:
        return f"{label} is before the first bar"
    return f"{label} of {action.amount} is not below the close before it, {price:g}"


def price_factors(catalog: BarCatalog, symbol: str) -> list[PriceFactor]:
    """Return the stored factors of a symbol, oldest first.

    Raises BadInput if none were computed, and Unavailable if the file is damaged.
    """
    path = _factors_file(catalog, symbol)
    if not path.exists():
        raise BadInput(f"there are no factors of {symbol}; compute them with `python cli.py data adjust {symbol}`")
    return read_rows(path, PriceFactor)


def stored_factors(catalog: BarCatalog) -> dict[str, list[PriceFactor]]:
    """Return the stored factors of all symbols. Raises Unavailable if a file is damaged."""
    files = sorted((catalog.folder / FACTORS_FOLDER).glob("*.json"))
    return {unquote(path.stem): read_rows(path, PriceFactor) for path in files}


def adjusted_table(bars: pa.Table, factors: Sequence[PriceFactor], adjustment: str, calendar: Calendar) -> pa.Table:
    """Return bars of one symbol, with the columns of the catalogue, in the shares of today. Raises BadInput."""
    if adjustment not in get_args(Adjustment):
        allowed = get_args(Adjustment)
        hint = did_you_mean(adjustment, allowed)
        raise BadInput(f"adjusted must be {' or '.join(allowed)}, found {adjustment!r}{hint}")
    used = [one for one in factors if adjustment == "all" or one.kind != CASH_DIVIDEND]
    days = _trading_days(bars, calendar)
    price, volume = np.ones(len(bars)), np.ones(len(bars))
    for one in used:
        is_before = days < one.ex_date
        price[is_before] *= one.price_factor
        volume[is_before] *= one.volume_factor
    for name in ("open", "high", "low", "close", "volume"):
        values = bars[name].to_numpy() * (volume if name == "volume" else price)
        bars = bars.set_column(bars.schema.get_field_index(name), bars.schema.field(name), pa.array(values))
    return bars


def adjusted_frame(frame: pd.DataFrame, catalog: BarCatalog, adjustment: str, calendar: Calendar) -> pd.DataFrame:
    """Return a frame of `load_bars` with adjusted prices and volumes. Raises BadInput."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    parts = [
        adjusted_table(
            table.filter(pc.equal(table["symbol"], name)), price_factors(catalog, name), adjustment, calendar
        )
        for name in frame["symbol"].unique()
    ]
    if not parts:
        return frame
    joined = pa.concat_tables(parts).sort_by([("time", "ascending"), ("symbol", "ascending")])
    adjusted: pd.DataFrame = joined.to_pandas().astype(frame.dtypes.to_dict())
    adjusted.attrs.update(frame.attrs)
    return adjusted


def _daily_closes(catalog: BarCatalog, symbol: str) -> _DailyCloses:
    """Return the closes of the daily bars, or else of the last bars of each day in the shortest interval."""
    intervals = [interval for interval in catalog.intervals() if catalog.months(interval, symbol)]
    if not intervals:
        return _DailyCloses([], [])
    interval = next((one for one in intervals if parse_interval_s(one) == DAY_S), intervals[0])
    calendar = catalog.months(interval, symbol)[-1].calendar
    bars = catalog.read(interval, symbol)
    days = _trading_days(bars, "24/7" if calendar == "24/7" else "XNYS")
    closes = dict(zip(days.tolist(), bars["close"].to_pylist(), strict=True))  # the last one of a day counts
    return _DailyCloses(list(closes), list(closes.values()))


def _trading_days(bars: pa.Table, calendar: Calendar) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the day of each bar at the exchange, as yyyymmdd."""
    dates = TradingCalendar(calendar)
    hours, places = np.unique(bars["time"].cast("int64").to_numpy() // _HOUR_NS, return_inverse=True)
    days = np.array([dates.date_of(int(hour) * _HOUR_NS) for hour in hours], np.int64)
    return days[places]


def _factors_file(catalog: BarCatalog, symbol: str) -> Path:
    return catalog.folder / FACTORS_FOLDER / f"{quote(symbol, safe='')}.json"
