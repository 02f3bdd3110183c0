"""Linear regression."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling_moments import RollingRegression
from schemas.records import Bar


class LinearRegression(ComposedIndicator):
    """Least-squares line through the last `period` closes: its value at the last bar, its slope per bar, and R².

    The slope is in the price's unit per bar; R² is the part of the variance that the line explains, 0 to 1, and is
    absent if all closes are equal. Absent before `period` bars. Equals TA-Lib's LINEARREG and LINEARREG_SLOPE.
    """

    __slots__ = ("name", "name_r2", "name_slope", "regression")
    kind: ClassVar[str] = "linear_regression"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    suffixes: ClassVar[tuple[str, ...]] = ("", "_slope", "_r2")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE, ValueUnit.PRICE_CHANGE, ValueUnit.RATIO)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.name_slope = f"{name}_slope"
        self.name_r2 = f"{name}_r2"
        self.regression = RollingRegression(period)
        self.parts = (self.regression,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        regression = self.regression
        if not regression.push(bar.close):
            return
        values[self.name] = regression.end
        values[self.name_slope] = regression.slope
        r_squared = regression.r_squared
        if r_squared is not None:
            values[self.name_r2] = r_squared
