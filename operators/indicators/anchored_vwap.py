"""Anchored volume-weighted average price."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit
from operators.indicators.volume_weighted import VolumeWeighted
from schemas.errors import BadInput
from schemas.records import Bar


class AnchoredVwap(ComposedIndicator):
    """Average of the typical price (high + low + close) / 3 since a trading day, weighted by volume.

    `day` is the first day, as yyyymmdd; all its sessions count. Absent before the first volume. In the price's unit.
    Source: B. Shannon, Maximum Trading Gains with Anchored VWAP (2023).
    """

    __slots__ = ("day", "name", "prices")
    kind: ClassVar[str] = "anchored_vwap"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"day": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str, day: int) -> None:
        try:
            date(day // 10_000, day // 100 % 100, day % 100)
        except ValueError as error:
            raise BadInput(f"indicator {name}: the day must be a date as yyyymmdd, found {day}") from error
        self.name = name
        self.day = day
        self.prices = VolumeWeighted()
        self.parts = (self.prices,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        if bar.trading_day >= self.day and self.prices.push((bar.high + bar.low + bar.close) / 3.0, bar.volume):
            values[self.name] = self.prices.mean
