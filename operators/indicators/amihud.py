"""Amihud's illiquidity."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from operators.indicators.rolling import RollingSum
from schemas.records import Bar


class Amihud(Indicator):
    """Mean absolute return per million of currency traded, over the last `period` bars with volume.

    The return is close / previous close - 1, the amount traded is close * volume. Bars without volume are skipped. The
    first bar has no return, so the first value is at the earliest at bar `period` + 1. Source: Y. Amihud, Illiquidity
    and stock returns: cross-section and time-series effects (2002).
    """

    __slots__ = ("close", "name", "period", "ratios")
    kind: ClassVar[str] = "amihud"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.TURNOVER,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.close = 0.0  # the previous one; 0 before the first bar
        self.ratios = RollingSum(period, price_power=0)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        previous_close, self.close = self.close, bar.close
        if previous_close and bar.volume > 0.0:
            change = abs(bar.close - previous_close) / previous_close
            total = self.ratios.push(1e6 * change / (bar.close * bar.volume))
            if total is not None:
                values[self.name] = total / self.period

    def rescale(self, factor: float) -> None:
        self.close = new_share_price(self.close, factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.close, self.ratios.snapshot()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.close, ratios = snapshot
        self.ratios.restore(ratios)
