"""Keltner channel."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.atr import Atr
from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import ExponentialAverage
from schemas.errors import BadInput
from schemas.records import Bar


class Keltner(ComposedIndicator):
    """Exponential average of the close, plus and minus `width` average true ranges, in the price's unit.

    The average equals `ema` over `period` bars, the range equals `atr` over `atr_period` bars. Absent until both have a
    value. `ta.volatility.KeltnerChannel` (`original_version=False`) forms its first range in another way and converges
    to the same values. Source: C. Keltner, How to Make Money in Commodities (1960), in the version of L. Raschke.
    """

    __slots__ = ("atr", "average", "name_atr", "name_lower", "name_middle", "name_upper", "width")
    kind: ClassVar[str] = "keltner"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "atr_period": int, "width": float}
    suffixes: ClassVar[tuple[str, ...]] = ("_upper", "_middle", "_lower")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str, period: int, atr_period: int, width: float) -> None:
        check_period(name, period)
        if width <= 0.0:
            raise BadInput(f"indicator {name}: width must be > 0 average true ranges, found {width:g}")
        self.name_upper = f"{name}_upper"
        self.name_middle = f"{name}_middle"
        self.name_lower = f"{name}_lower"
        self.name_atr = name
        self.width = width
        self.average = ExponentialAverage(period)
        self.atr = Atr(name, atr_period)
        self.parts = (self.average, self.atr)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        ranges: dict[str, float] = {}
        self.atr.update(bar, ranges)
        middle = self.average.push(bar.close)
        true_range = ranges.get(self.name_atr)
        if middle is not None and true_range is not None:
            values[self.name_upper] = middle + self.width * true_range
            values[self.name_middle] = middle
            values[self.name_lower] = middle - self.width * true_range
