"""Yang-Zhang volatility."""

from __future__ import annotations

from math import log, sqrt
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from operators.indicators.rogers_satchell import rogers_satchell_variance
from operators.indicators.rolling import RollingSum
from operators.indicators.rolling_moments import RollingMoments
from schemas.records import Bar


class YangZhang(Indicator):
    """Volatility from open, high, low and close of the last `period` bars, also while prices trend and after gaps.

    The square root of O + k C + (1 - k) R: O and C are the sample variances of ln(open / previous close) and
    ln(close / open), R is the mean variance of Rogers and Satchell, and k = 0.34 / (1.34 + (n + 1) / (n - 1)). Per bar,
    as a fraction; times the square root of the bars of a year it is annualized. The first bar has no previous close, so
    the first value is at bar `period` + 1. Equals TTR's `volatility(calc = "yang.zhang")` with N = 1. Source: D. Yang,
    Q. Zhang, Drift-Independent Volatility Estimation Based on High, Low, Open, and Close Prices (2000).
    """

    __slots__ = ("bodies", "close", "gaps", "inside", "name", "period", "weight")
    kind: ClassVar[str] = "yang_zhang"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.period = period
        self.weight = 0.34 / (1.34 + (period + 1) / (period - 1))
        self.close = 0.0  # the previous one; 0 before the first bar
        self.gaps = RollingMoments(period, price_power=0)
        self.bodies = RollingMoments(period, price_power=0)
        self.inside = RollingSum(period, price_power=0)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        previous_close, self.close = self.close, bar.close
        if not previous_close:
            return
        self.gaps.push(log(bar.open / previous_close))
        self.bodies.push(log(bar.close / bar.open))
        inside = self.inside.push(rogers_satchell_variance(bar))
        if inside is not None:
            sample_size = self.period - 1
            outside = self.gaps.square_sum / sample_size + self.weight * self.bodies.square_sum / sample_size
            values[self.name] = sqrt(outside + (1.0 - self.weight) * max(inside, 0.0) / self.period)

    def rescale(self, factor: float) -> None:
        self.close = new_share_price(self.close, factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.close, self.gaps.snapshot(), self.bodies.snapshot(), self.inside.snapshot()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.close, gaps, bodies, inside = snapshot
        self.gaps.restore(gaps)
        self.bodies.restore(bodies)
        self.inside.restore(inside)
