"""The market's move since a signal: what a strategy would have earned without any view."""

from __future__ import annotations

from collections.abc import Mapping
from math import expm1
from typing import Any


class MarketMove:
    """The cumulative log return of the market as seen from each symbol.

    Without a `benchmark`, the market is the equal-weighted mean of the log returns of all other symbols, so that the
    move between two time slices is the geometric mean of their price ratios. Without other symbols, it is 0. With a
    `benchmark` symbol, the market is this symbol; seen from itself, it does not move.

    >>> market = MarketMove(None)
    >>> market.record_slice({"A": 0.3, "B": 0.1, "C": 0.2}, 3)
    >>> round(market.level("A"), 9), round(market.level("B"), 9)
    (0.15, 0.25)
    """

    __slots__ = ("_benchmark", "_own", "_total")

    def __init__(self, benchmark: str | None) -> None:
        self._benchmark = benchmark
        self._total = 0.0
        self._own: dict[str, float] = {}  # symbol -> its share of the total, which it does not see

    def record_slice(self, returns: Mapping[str, float], symbols: int) -> None:
        """Add the log returns of a time slice in which `symbols` symbols have a return; `returns` may lack zeros."""
        if self._benchmark is not None:
            self._total += returns.get(self._benchmark, 0.0)
        elif symbols > 1:
            others, own = symbols - 1, self._own
            self._total += sum(returns.values()) / others
            for symbol, value in returns.items():
                own[symbol] = own.get(symbol, 0.0) + value / others

    def level(self, symbol: str) -> float:
        """The sum of the market's log returns so far, as seen from a symbol."""
        if self._benchmark is not None:
            return 0.0 if symbol == self._benchmark else self._total
        return self._total - self._own.get(symbol, 0.0)

    def move_since(self, symbol: str, level: float) -> float:
        """The market's return, as a fraction, since `level(symbol)` had this value."""
        return expm1(self.level(symbol) - level)

    def snapshot(self) -> Any:
        """Return (total, {symbol: own share})."""
        return (self._total, dict(self._own))

    def restore(self, snapshot: Any) -> None:
        self._total, own = snapshot
        self._own = dict(own)
