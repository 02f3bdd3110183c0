"""Exponential moving average."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period
from schemas.records import Bar


class Ema(Indicator):
    """Exponential moving average of the close, in the price's unit: ema += (close - ema) * 2 / (period + 1).

    The seed is the first close. Absent before `period` bars. Equals `ta.trend.EMAIndicator`, which is pandas'
    `ewm(span=period, adjust=False)`. TA-Lib uses a simple average as the seed and converges to the same value.
    """

    __slots__ = ("alpha", "bars_missing", "name", "period", "value")
    kind: ClassVar[str] = "ema"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.alpha = 2.0 / (period + 1)
        self.bars_missing = period
        self.value = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        if self.bars_missing:
            if not self._warm_up(bar.close):
                return
            value = self.value
        else:
            value = self.value
            self.value = value = value + (bar.close - value) * self.alpha
        values[self.name] = value

    def _warm_up(self, close: float) -> bool:
        if self.bars_missing == self.period:
            self.value = close
        self.value += (close - self.value) * self.alpha
        self.bars_missing -= 1
        return self.bars_missing == 0

    def rescale(self, factor: float) -> None:
        self.value *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.period - self.bars_missing, self.value

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        bars_seen, self.value = snapshot
        self.bars_missing = self.period - bars_seen
