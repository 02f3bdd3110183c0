"""Ichimoku cloud."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import PastValue, RollingMaximum
from schemas.errors import BadInput
from schemas.records import Bar


class Ichimoku(ComposedIndicator):
    """The lines of the Ichimoku chart, in the price's unit. No value uses a later bar.

    `_conversion`, `_base` and `_leading_b` are the middle between the highest high and the lowest low of the last
    `conversion`, `base` and `leading` bars; `_leading_a` is the mean of conversion and base. A chart draws the leading
    lines `base` bars ahead. `_cloud_a` and `_cloud_b` are the leading lines of `base` bars before, which a chart draws
    at the present bar: compare the close with these. The lagging line is the close drawn `base` bars back. Each value
    is absent before its number of bars. Equals `ta.trend.IchimokuIndicator`, with `visual=True` for the cloud. Source:
    G. Hosoda (1969).
    """

    __slots__ = (
        "base",
        "conversion",
        "leading",
        "name_base",
        "name_cloud_a",
        "name_cloud_b",
        "name_conversion",
        "name_leading_a",
        "name_leading_b",
        "past_a",
        "past_b",
    )
    kind: ClassVar[str] = "ichimoku"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"conversion": int, "base": int, "leading": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_conversion", "_base", "_leading_a", "_leading_b", "_cloud_a", "_cloud_b")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str, conversion: int, base: int, leading: int) -> None:
        check_period(name, conversion)
        if not conversion <= base <= leading:
            raise BadInput(
                f"indicator {name}: conversion <= base <= leading is required, found {conversion}, {base} and {leading}"
            )
        self.name_conversion, self.name_base, self.name_leading_a, self.name_leading_b, *cloud = [
            name + suffix for suffix in self.suffixes
        ]
        self.name_cloud_a, self.name_cloud_b = cloud
        self.conversion, self.base, self.leading = (
            (RollingMaximum(period), RollingMaximum(period)) for period in (conversion, base, leading)
        )
        self.past_a = PastValue(base)
        self.past_b = PastValue(base)
        self.parts = (*self.conversion, *self.base, *self.leading, self.past_a, self.past_b)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        conversion = _middle(self.conversion, bar)
        base = _middle(self.base, bar)
        leading_b = _middle(self.leading, bar)
        if conversion is not None:
            values[self.name_conversion] = conversion
        if conversion is not None and base is not None:
            values[self.name_base] = base
            values[self.name_leading_a] = leading_a = (conversion + base) / 2.0
            cloud_a = self.past_a.push(leading_a)
            if cloud_a is not None:
                values[self.name_cloud_a] = cloud_a
        if leading_b is not None:
            values[self.name_leading_b] = leading_b
            cloud_b = self.past_b.push(leading_b)
            if cloud_b is not None:
                values[self.name_cloud_b] = cloud_b


def _middle(extremes: tuple[RollingMaximum, RollingMaximum], bar: Bar) -> float | None:
    """Return the middle of the window's range; None before the window is full."""
    highest, lowest_negated = extremes
    middle = (highest.push(bar.high) - lowest_negated.push(-bar.low)) / 2.0
    return middle if highest.full else None
