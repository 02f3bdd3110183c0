"""Volume-weighted average price of the session, with bands."""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit
from operators.indicators.volume_weighted import VolumeWeighted
from schemas.errors import BadInput
from schemas.records import Bar


class VwapBands(Indicator):
    """The session's VWAP plus and minus `width` volume-weighted standard deviations, in the price's unit.

    The middle is that of `vwap`: the average of the typical price (high + low + close) / 3 since the start of the
    session. The deviation is that of the typical prices from it, weighted by volume. Absent until the first volume of
    the session.
    """

    __slots__ = ("day", "name_lower", "name_middle", "name_upper", "prices", "session", "width")
    kind: ClassVar[str] = "vwap_bands"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"width": float}
    suffixes: ClassVar[tuple[str, ...]] = ("_upper", "_middle", "_lower")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str, width: float) -> None:
        if width <= 0:
            raise BadInput(f"indicator {name}: width must be > 0 standard deviations, found {width}")
        self.name_upper = f"{name}_upper"
        self.name_middle = f"{name}_middle"
        self.name_lower = f"{name}_lower"
        self.width = width
        self.day = 0
        self.session = ""
        self.prices = VolumeWeighted()

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        prices = self.prices
        if bar.trading_day != self.day or bar.session != self.session:
            self.day = bar.trading_day
            self.session = bar.session
            prices.clear()
        if prices.push((bar.high + bar.low + bar.close) / 3.0, bar.volume):
            half_width = self.width * sqrt(prices.variance)
            values[self.name_upper] = prices.mean + half_width
            values[self.name_middle] = prices.mean
            values[self.name_lower] = prices.mean - half_width

    def rescale(self, factor: float) -> None:
        self.prices.rescale(factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.day, self.session, self.prices.snapshot()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.day, self.session, prices = snapshot
        self.prices.restore(prices)
