"""Arnaud Legoux moving average."""

from __future__ import annotations

from collections import deque
from math import exp, fsum
from operator import mul
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period
from schemas.errors import BadInput
from schemas.records import Bar


class Alma(Indicator):
    """Mean of the last `period` closes with the weights of a normal curve, in the price's unit.

    The curve's peak lies at `offset` times `period` - 1 bars after the oldest bar (0: oldest, 1: newest), and its
    standard deviation is `period` / `sigma` bars. Absent before `period` bars. The cost of a bar grows with `period`,
    because a sum with these weights has no update in constant time. Source: A. Legoux and D. Kouzis-Loukas, ALMA
    (2009).
    """

    __slots__ = ("name", "period", "weights", "window")
    kind: ClassVar[str] = "alma"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "offset": float, "sigma": float}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int, offset: float, sigma: float) -> None:
        check_period(name, period)
        if not 0.0 <= offset <= 1.0:
            raise BadInput(f"indicator {name}: the offset must be 0 to 1, found {offset:g}")
        if sigma <= 0.0:
            raise BadInput(f"indicator {name}: sigma must be > 0, found {sigma:g}")
        peak = offset * (period - 1)
        weights = [exp(-(((index - peak) * sigma / period) ** 2) / 2.0) for index in range(period)]
        total = fsum(weights)
        if total == 0.0:
            raise BadInput(f"indicator {name}: sigma is too large for the period: all weights are 0, found {sigma:g}")
        self.name = name
        self.period = period
        self.weights = tuple([weight / total for weight in weights])
        self.window: deque[float] = deque(maxlen=period)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        self.window.append(bar.close)
        if len(self.window) == self.period:
            values[self.name] = sum(map(mul, self.weights, self.window))

    def rescale(self, factor: float) -> None:
        self.window = deque((close * factor for close in self.window), self.period)

    def snapshot(self) -> tuple[Any, ...]:
        return (tuple(self.window),)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.window = deque(snapshot[0], self.period)
