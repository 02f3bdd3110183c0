"""Accumulation/distribution line."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit
from operators.indicators.money_flow import money_flow_volume
from schemas.records import Bar


class Ad(Indicator):
    """Sum of the volume times the position of the close in its bar (+1 at the high, -1 at the low), since the first
    bar.

    In units. A bar without a range adds nothing. Equals TA-Lib's AD and `ta.volume.AccDistIndexIndicator`. Source: M.
    Chaikin.
    """

    __slots__ = ("name", "total")
    kind: ClassVar[str] = "ad"
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.VOLUME_TOTAL,)

    def __init__(self, name: str) -> None:
        self.name = name
        self.total = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        self.total += money_flow_volume(bar)
        values[self.name] = self.total

    def rescale(self, factor: float) -> None:
        self.total /= factor

    def snapshot(self) -> tuple[Any, ...]:
        return (self.total,)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        (self.total,) = snapshot
