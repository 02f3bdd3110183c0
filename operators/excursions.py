"""Adverse and favourable excursions: the worst and the best price that a lot has met between entry and exit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from math import fsum
from typing import NamedTuple

from operators.money import to_decimal
from schemas.records import CLS, LONG, MARKET, Bar, Execution, LotMatch, OrderType, TimeInForce


class BarPrices(NamedTuple):
    """The times and prices of a bar `[open_ns, ts_ns)`."""

    open_ns: int
    ts_ns: int
    open: float
    high: float
    low: float
    close: float


class HoldingPeriod(NamedTuple):
    """The bars between entry and exit of a lot.

    `entry` and `exit` are the first bars that end after the entry and after the exit; None if no such bar exists. The
    `bars` that end after `entry` and by the exit have the extremes `low` and `high`; None if there are none.
    """

    entry: BarPrices | None
    exit: BarPrices | None
    low: float | None
    high: float | None
    bars: int


class PriceColumns(NamedTuple):
    """The bars of one symbol in order of time, one list per field."""

    opens_ns: Sequence[int]
    ends_ns: Sequence[int]
    opens: Sequence[float]
    highs: Sequence[float]
    lows: Sequence[float]
    closes: Sequence[float]


class Excursion(NamedTuple):
    """The lowest and highest price that a lot has certainly met, and the number of bars that it was open."""

    low: Decimal
    high: Decimal
    bars: int

    def moves(self, match: LotMatch) -> tuple[Decimal, Decimal]:
        """Return the worst and the best move per unit since the entry, above 0 in the direction of the lot."""
        low, high = self.low - match.entry_price, self.high - match.entry_price
        return (low, high) if match.direction == LONG else (-high, -low)

    def fractions(self, match: LotMatch) -> tuple[float, float] | None:
        """Return the adverse and the favourable excursion as fractions of the entry price; None at a price of 0."""
        if not match.entry_price:
            return None
        adverse, favourable = self.moves(match)
        return float(adverse / match.entry_price), float(favourable / match.entry_price)


def excursion(match: LotMatch, period: HoldingPeriod, *, is_market: bool) -> Excursion:
    """Return the extremes between entry and exit that the bars prove.

    A bar between the two counts whole. Of the entry's bar, the whole counts if the entry was at its open, else the
    close. Of the exit's bar, the open and the exit price count. `is_market` is that of the opening order
    (`is_market_order`).
    """
    entry, last, bars = period.entry, period.exit, period.bars
    found: list[float] = []
    if entry is not None and entry.ts_ns <= match.closed_ns:
        is_later = entry.open_ns > match.opened_ns  # the entry was in no bar
        bars += is_later
        is_whole = is_later or _entered_at_open(match, entry, is_market=is_market)
        found += (entry.low, entry.high) if is_whole else (entry.close,)
    if period.low is not None and period.high is not None:
        found += (period.low, period.high)
    if last is not None and match.opened_ns < last.open_ns <= match.closed_ns:
        bars += 1
        found.append(last.open)
    prices = [match.entry_price, match.exit_price, *map(to_decimal, found)]
    return Excursion(min(prices), max(prices), bars)


def _entered_at_open(match: LotMatch, entry: BarPrices, *, is_market: bool) -> bool:
    """Whether a fill was at the open of its bar: the time is the bar's open, and so is the price or the type says so.

    The simulated venue times a fill inside a bar at the bar's open, too; then only the price tells them apart.
    """
    return entry.open_ns == match.opened_ns and (is_market or to_decimal(entry.open) == match.entry_price)


def is_market_order(order_type: OrderType, time_in_force: TimeInForce) -> bool:
    """Whether an order fills at the open of a bar if its fill has the time of the open."""
    return order_type == MARKET and time_in_force != CLS


def is_measurable(match: LotMatch, entry: Execution) -> bool:
    """Whether the bars of the lot's symbol show the whole time since its opening execution.

    A split, merger or spin-off changes the entry price of a lot but not the recorded bars. After a rename, the first
    bars have the old symbol.
    """
    return (entry.symbol, entry.price) == (match.symbol, match.entry_price)


class SymbolBars:
    """The bars of one symbol in order of time, as columns."""

    def __init__(self) -> None:
        self._opens_ns: list[int] = []
        self._ends_ns: list[int] = []
        self._opens: list[float] = []
        self._highs: list[float] = []
        self._lows: list[float] = []
        self._closes: list[float] = []

    def add(self, bar: Bar) -> None:
        self._opens_ns.append(bar.open_ns)
        self._ends_ns.append(bar.ts_ns)
        self._opens.append(bar.open)
        self._highs.append(bar.high)
        self._lows.append(bar.low)
        self._closes.append(bar.close)

    @property
    def columns(self) -> PriceColumns:
        """The bars themselves, not a copy."""
        return PriceColumns(
            opens_ns=self._opens_ns,
            ends_ns=self._ends_ns,
            opens=self._opens,
            highs=self._highs,
            lows=self._lows,
            closes=self._closes,
        )

    def holding_period(self, match: LotMatch) -> HoldingPeriod:
        entry, last = bisect_right(self._ends_ns, match.opened_ns), bisect_right(self._ends_ns, match.closed_ns)
        lows, highs = self._lows[entry + 1 : last], self._highs[entry + 1 : last]
        return HoldingPeriod(
            entry=self._bar(entry),
            exit=self._bar(last),
            low=min(lows, default=None),
            high=max(highs, default=None),
            bars=len(lows),
        )

    def _bar(self, index: int) -> BarPrices | None:
        if index == len(self._ends_ns):
            return None
        return BarPrices(
            open_ns=self._opens_ns[index],
            ts_ns=self._ends_ns[index],
            open=self._opens[index],
            high=self._highs[index],
            low=self._lows[index],
            close=self._closes[index],
        )


def summarize_excursions(shares: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    """Return mean and extreme of (adverse, favourable) excursions, as fractions of the entry price; None without lots.

    >>> summarize_excursions([(-0.02, 0.01), (-0.04, 0.05)])
    {'mae_mean': -0.03, 'mae_worst': -0.04, 'mfe_mean': 0.03, 'mfe_best': 0.05}
    """
    if not shares:
        return dict.fromkeys(("mae_mean", "mae_worst", "mfe_mean", "mfe_best"))
    adverse, favourable = [share[0] for share in shares], [share[1] for share in shares]
    figures = {
        "mae_mean": fsum(adverse) / len(shares),
        "mae_worst": min(adverse),
        "mfe_mean": fsum(favourable) / len(shares),
        "mfe_best": max(favourable),
    }
    return {name: round(value, 12) for name, value in figures.items()}
