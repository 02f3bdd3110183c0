"""Indicators of another input than the close: `sma_20@volume`, `ema_20(rsi_14)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from operators.indicators.indicator import Indicator, NoConversion, ValueUnit
from schemas.records import Bar, Quote

if TYPE_CHECKING:
    from operators.trading.sessions import SessionTimes


class BarInput(NamedTuple):
    """A number of a bar that an indicator can read instead of the close."""

    read: Callable[[Bar], float]
    unit: ValueUnit


INPUTS: dict[str, BarInput] = {
    "open": BarInput(lambda bar: bar.open, ValueUnit.PRICE),
    "high": BarInput(lambda bar: bar.high, ValueUnit.PRICE),
    "low": BarInput(lambda bar: bar.low, ValueUnit.PRICE),
    "volume": BarInput(lambda bar: bar.volume, ValueUnit.VOLUME),
    "hl2": BarInput(lambda bar: (bar.high + bar.low) / 2.0, ValueUnit.PRICE),
    "hlc3": BarInput(lambda bar: (bar.high + bar.low + bar.close) / 3.0, ValueUnit.PRICE),
    "ohlc4": BarInput(lambda bar: (bar.open + bar.high + bar.low + bar.close) / 4.0, ValueUnit.PRICE),
    "hlcc4": BarInput(lambda bar: (bar.high + bar.low + 2.0 * bar.close) / 4.0, ValueUnit.PRICE),
}
"""Input by its name after `@`."""

_CHANGES = {
    ValueUnit.PRICE: ValueUnit.PRICE_CHANGE,
    ValueUnit.VOLUME_TOTAL: ValueUnit.VOLUME,
}
_SQUARES = {
    ValueUnit.PRICE: ValueUnit.PRICE_SQUARED,
    ValueUnit.PRICE_CHANGE: ValueUnit.PRICE_SQUARED,
    ValueUnit.RATIO: ValueUnit.RATIO,
}


class _Derived(Indicator):
    """An indicator whose bars have a series of other numbers as their prices. Its values have the outer one's names."""

    __slots__ = ("outer",)

    def __init__(self, outer: Indicator) -> None:
        self.outer = outer

    @property
    def value_suffixes(self) -> tuple[str, ...]:
        return self.outer.value_suffixes

    def input_unit(self) -> ValueUnit | None:
        """Return the unit of the numbers that the outer indicator receives; None if it is unknown."""
        raise NotImplementedError

    @property
    def components(self) -> tuple[Indicator, ...]:
        return self.outer.components

    def use_sessions(self, days: Mapping[int, SessionTimes]) -> None:
        for component in self.components:
            component.use_sessions(days)

    def unit_of(self, suffix: str) -> ValueUnit | None:
        unit_of_prices = self.outer.unit_of(suffix)
        unit = self.input_unit()
        if unit is None or unit_of_prices is ValueUnit.PRICE:
            return unit
        if unit_of_prices is ValueUnit.PRICE_CHANGE:
            return _CHANGES.get(unit, unit)
        if unit_of_prices is ValueUnit.PRICE_SQUARED:
            return _SQUARES.get(unit)
        return ValueUnit.RATIO if unit_of_prices is ValueUnit.RATIO else None

    def _rescale_outer(self, factor: float) -> None:
        unit = self.input_unit()
        if unit is None:
            raise NoConversion("the unit of the input is unknown, so its numbers cannot be converted")
        if unit.price_power:
            self.outer.rescale(factor**unit.price_power)


class IndicatorOfInput(_Derived):
    """An indicator of another number of the bar, such as `sma_20@volume`."""

    __slots__ = ("bar_input",)

    def __init__(self, outer: Indicator, bar_input: BarInput) -> None:
        super().__init__(outer)
        self.bar_input = bar_input

    def input_unit(self) -> ValueUnit:
        return self.bar_input.unit

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        self.outer.update(_with_prices(bar, self.bar_input.read(bar)), values)

    def rescale(self, factor: float) -> None:
        self._rescale_outer(factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.outer.snapshot()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.outer.restore(snapshot)


class IndicatorOfIndicator(_Derived):
    """An indicator of a value of another one, such as `ema_20(rsi_14)` and `sma_5(macd_12_26_9_histogram)`.

    At a bar without a value of the inner indicator (warm-up, 0/0), the outer one is not updated and has no value.
    """

    __slots__ = ("inner", "inner_suffix", "value_name")

    def __init__(self, outer: Indicator, inner: Indicator, inner_spec: str, inner_suffix: str) -> None:
        super().__init__(outer)
        self.inner = inner
        self.inner_suffix = inner_suffix
        self.value_name = inner_spec + inner_suffix

    @property
    def components(self) -> tuple[Indicator, ...]:
        return *self.inner.components, *self.outer.components

    def input_unit(self) -> ValueUnit | None:
        return self.inner.unit_of(self.inner_suffix)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        inner_values: dict[str, float] = {}
        self.inner.update(bar, inner_values)
        value = inner_values.get(self.value_name)
        if value is not None:
            self.outer.update(_with_prices(bar, value), values)

    def update_quote(self, quote: Quote) -> None:
        for component in self.components:
            if component.reads_quotes:
                component.update_quote(quote)

    def rescale(self, factor: float) -> None:
        self.inner.rescale(factor)
        self._rescale_outer(factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.inner.snapshot(), self.outer.snapshot()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        inner, outer = snapshot
        self.inner.restore(inner)
        self.outer.restore(outer)


def _with_prices(bar: Bar, value: float) -> Bar:
    return bar._replace(open=value, high=value, low=value, close=value)
