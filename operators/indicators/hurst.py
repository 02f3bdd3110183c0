"""Hurst exponent."""

from __future__ import annotations

from math import log
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from operators.indicators.rolling import RollingSum
from schemas.records import Bar


class Hurst(Indicator):
    """Hurst exponent of the log closes: 0.5 for a random walk, above it for trends, below it for mean reversion.

    Half the slope of ln(mean squared change over a lag) on ln(lag), for the lags 1, 2, 4 ... up to `period` / 4 (the
    generalized exponent of order 2). Each mean covers the last `period` changes over its lag, so the first value is at
    bar `period` + largest lag. A close of 0 or below (of another input) is skipped. Absent while the changes over a lag
    are all 0. Source: T. Di Matteo, Multi-scaling in finance (2007).
    """

    __slots__ = ("lags", "name", "oldest", "period", "positions", "recent", "squares")
    kind: ClassVar[str] = "hurst"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 8)
        self.name = name
        self.period = period
        self.lags = [1]
        while 2 * self.lags[-1] <= period / 4:
            self.lags.append(2 * self.lags[-1])
        mean_log = sum(map(log, self.lags)) / len(self.lags)
        self.positions = [log(lag) - mean_log for lag in self.lags]
        self.squares = [RollingSum(period, price_power=0) for _ in self.lags]
        self.recent: list[float] = []  # as many closes as the largest lag
        self.oldest = 0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close, recent, largest_lag = bar.close, self.recent, self.lags[-1]
        if close <= 0.0:
            return
        sums: list[float | None] = []
        for lag, squares in zip(self.lags, self.squares, strict=True):
            if len(recent) >= lag:
                sums.append(squares.push(log(close / recent[self.oldest - lag]) ** 2))
        if len(recent) < largest_lag:
            recent.append(close)
            return
        recent[self.oldest] = close
        self.oldest = (self.oldest + 1) % largest_lag
        numerator = 0.0
        for total, position in zip(sums, self.positions, strict=True):
            if total is None or total <= 0.0:
                return
            numerator += position * log(total / self.period)
        values[self.name] = 0.5 * numerator / sum(position * position for position in self.positions)

    def rescale(self, factor: float) -> None:
        self.recent = [new_share_price(close, factor) for close in self.recent]

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.recent), self.oldest, tuple([squares.snapshot() for squares in self.squares])

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        recent, self.oldest, states = snapshot
        self.recent = list(recent)
        for squares, state in zip(self.squares, states, strict=True):
            squares.restore(state)
