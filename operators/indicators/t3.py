"""Tillson's T3 moving average."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import ExponentialAverage
from schemas.errors import BadInput
from schemas.records import Bar


class T3(ComposedIndicator):
    """The generalized double exponential average with `volume_factor` v, applied three times, in the price's unit.

    One application is (1 + v) ema - v ema(ema); v = 0 gives an exponential average, v = 1 gives `dema`. The result is a
    weighted sum of six exponential averages in a chain. The seed of each is its first input; each starts with the first
    value of the average before. Absent before 6 `period` - 5 bars. TA-Lib's T3 uses simple averages as the seeds and
    converges to the same value. Source: T. Tillson, Smoothing Techniques for More Accurate Signals, Technical Analysis
    of Stocks & Commodities (1998).
    """

    __slots__ = ("averages", "name", "weights")
    kind: ClassVar[str] = "t3"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "volume_factor": float}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int, volume_factor: float) -> None:
        check_period(name, period)
        if not 0.0 <= volume_factor <= 1.0:
            raise BadInput(f"indicator {name}: the volume factor must be 0 to 1, found {volume_factor:g}")
        v = volume_factor
        self.name = name
        # Weights of the sixth to the third average.
        self.weights = (-(v**3), 3 * v**2 + 3 * v**3, -6 * v**2 - 3 * v - 3 * v**3, (1 + v) ** 3)
        self.averages = tuple([ExponentialAverage(period) for _ in range(6)])
        self.parts = self.averages

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        value = bar.close
        chain: list[float] = []
        for average in self.averages:
            smoothed = average.push(value)
            if smoothed is None:
                return
            value = smoothed
            chain.append(value)
        sixth, fifth, fourth, third = self.weights
        values[self.name] = sixth * chain[5] + fifth * chain[4] + fourth * chain[3] + third * chain[2]
