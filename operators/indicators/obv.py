"""On-balance volume."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, new_share_price
from schemas.records import Bar


class Obv(Indicator):
    """Volume of bars that closed higher minus the volume of bars that closed lower, in units, since the first bar.

    Starts with the first bar's volume. A bar with an unchanged close adds nothing. Equals TA-Lib's OBV; `ta` counts
    unchanged bars as rises.
    """

    __slots__ = ("close", "name", "total")
    kind: ClassVar[str] = "obv"
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.VOLUME_TOTAL,)

    def __init__(self, name: str) -> None:
        self.name = name
        self.close: float | None = None
        self.total = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        previous_close = self.close
        if previous_close is None or close > previous_close:
            self.total += bar.volume
        elif close < previous_close:
            self.total -= bar.volume
        self.close = close
        values[self.name] = self.total

    def rescale(self, factor: float) -> None:
        if self.close is not None:
            self.close = new_share_price(self.close, factor)
        self.total /= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.close, self.total

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.close, self.total = snapshot
