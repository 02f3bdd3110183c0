"""Indicators of another bar interval: `ema_20@15m`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, new_share_price
from operators.trading.event_bars import bar_builder
from operators.trading.intervals import Interval, interval_text
from operators.trading.sessions import SessionClock, SessionTimes
from schemas.records import Bar, Quote


class IndicatorOfInterval(Indicator):
    """An indicator on bars of another interval, built from the feed's bars like those of trading strategies.

    Each bar of the feed has the values at the last closed bar of the interval.
    """

    __slots__ = ("bars", "clock", "inner", "inner_spec", "interval", "last_values", "name")
    reads_sessions: ClassVar[bool] = True

    def __init__(self, name: str, inner: Indicator, inner_spec: str, interval: Interval) -> None:
        self.name, self.inner, self.inner_spec, self.interval = name, inner, inner_spec, interval
        self.bars = bar_builder(interval)
        self.clock = SessionClock({})
        self.last_values: dict[str, float] = {}  # by suffix

    @property
    def value_suffixes(self) -> tuple[str, ...]:
        return self.inner.value_suffixes

    @property
    def components(self) -> tuple[Indicator, ...]:
        return (self, *self.inner.components)

    def unit_of(self, suffix: str) -> ValueUnit | None:
        return self.inner.unit_of(suffix)

    def use_sessions(self, days: Mapping[int, SessionTimes]) -> None:
        self.clock.set_days(days)
        self.inner.use_sessions(days)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        closed = self.bars.update(bar, self.clock.bounds(bar), ends_week=self.clock.ends_week(bar))
        for one in closed:
            inner_values: dict[str, float] = {}
            self.inner.update(one, inner_values)
            start = len(self.inner_spec)
            self.last_values = {name[start:]: value for name, value in inner_values.items()}
        for suffix, value in self.last_values.items():
            values[self.name + suffix] = value

    def update_quote(self, quote: Quote) -> None:
        self.inner.update_quote(quote)

    def rescale(self, factor: float) -> None:
        """Convert the state. A last value whose unit is unknown is absent until the next bar of the interval."""
        self.inner.rescale(factor)
        self.bars.rescale(factor)
        last_values, self.last_values = self.last_values, {}
        for suffix, value in last_values.items():
            unit = self.unit_of(suffix)
            if unit is ValueUnit.PRICE:
                self.last_values[suffix] = new_share_price(value, factor)
            elif unit is not None:
                self.last_values[suffix] = value * factor**unit.price_power

    def snapshot(self) -> tuple[Any, ...]:
        version, first_bars = self.clock.snapshot()
        clock = (version, tuple(first_bars))
        return clock, self.bars.snapshot(), self.inner.snapshot(), tuple(self.last_values.items())

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        clock, bars, inner, last_values = snapshot
        self.clock.restore(clock)
        self.bars.restore(bars)
        self.inner.restore(inner)
        self.last_values = dict(last_values)


def interval_of(indicator: Indicator) -> str | None:
    """Return the text of the interval of an indicator such as `ema_20@15m`; None for one of the feed's bars."""
    return interval_text(indicator.interval) if isinstance(indicator, IndicatorOfInterval) else None
