"""Adverse and favourable excursions: the worst and the best price that a lot has met between entry and exit."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from decimal import Decimal
from math import fsum
from typing import NamedTuple

from operators.money import to_decimal
from schemas.records import CLS, LONG, MARKET, Bar, Execution, LotMatch, Order


class SymbolBars:
    """The bars of one symbol in order of time, as columns."""

    def __init__(self) -> None:
        self.opens_ns: list[int] = []
        self.opens: list[float] = []
        self.highs: list[float] = []
        self.lows: list[float] = []
        self.closes: list[float] = []

    def add(self, bar: Bar) -> None:
        self.opens_ns.append(bar.open_ns)
        self.opens.append(bar.open)
        self.highs.append(bar.high)
        self.lows.append(bar.low)
        self.closes.append(bar.close)

    def index_at(self, ts_ns: int) -> int:
        """Return the index of the bar that contains a time; -1 before the first bar. A bar contains its open only."""
        return bisect_right(self.opens_ns, ts_ns) - 1


class Excursion(NamedTuple):
    """The lowest and highest price that a lot has certainly met, and the number of bars that it was open."""

    low: Decimal
    high: Decimal
    bars: int

    def moves(self, match: LotMatch) -> tuple[Decimal, Decimal]:
        """Return the worst and the best move per unit since the entry, above 0 in the direction of the lot."""
        low, high = self.low - match.entry_price, self.high - match.entry_price
        return (low, high) if match.direction == LONG else (-high, -low)


def excursion(bars: SymbolBars, match: LotMatch, *, entered_at_open: bool) -> Excursion:
    """Return the extremes between entry and exit that the bars prove.

    A bar between the two counts whole. Of the entry's bar, the whole counts if the entry was at its open, else the
    close. Of the exit's bar, the open and the exit price count.
    """
    prices = [match.entry_price, match.exit_price]
    entry, exit_index = bars.index_at(match.opened_ns), bars.index_at(match.closed_ns)
    if entry < 0:
        return Excursion(min(prices), max(prices), 0)
    first_whole = entry if entered_at_open else entry + 1
    if entry < exit_index:
        prices += [to_decimal(bars.opens[exit_index]), to_decimal(bars.closes[entry])]
    if first_whole < exit_index:
        prices.append(to_decimal(min(bars.lows[first_whole:exit_index])))
        prices.append(to_decimal(max(bars.highs[first_whole:exit_index])))
    return Excursion(min(prices), max(prices), max(0, exit_index - entry))


def entered_at_open(bars: SymbolBars, entry: Execution, order: Order | None) -> bool:
    """Whether a fill was at the open of its bar: the time is the bar's open, and so is the price or the type says so.

    The simulated venue times a fill inside a bar at the bar's open, too; then only the price tells them apart.
    """
    index = bisect_left(bars.opens_ns, entry.filled_at_ns)
    if index == len(bars.opens_ns) or bars.opens_ns[index] != entry.filled_at_ns:
        return False
    is_market = order is not None and order.terms.order_type == MARKET and order.terms.time_in_force != CLS
    return is_market or to_decimal(bars.opens[index]) == entry.price


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
