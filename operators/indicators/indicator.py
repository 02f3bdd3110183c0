"""The interface of an indicator (see docs/howto/indicator.md)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final

from schemas.errors import BadInput
from schemas.records import Bar, Quote

if TYPE_CHECKING:
    from operators.trading.sessions import SessionTimes

PRICE_DECIMALS: Final = 9
"""Decimals of a price in the records of the platform."""


class ValueUnit(StrEnum):
    """The unit of a value. It says how the value changes with a split, and how a model reads it."""

    PRICE = "price"  # a level that can be compared with the close
    PRICE_CHANGE = "price change"  # a distance between prices
    PRICE_SQUARED = "price squared"
    RATIO = "ratio"  # a number without unit: a percentage, an oscillator, a count
    VOLUME = "volume"
    VOLUME_TOTAL = "volume total"  # grows with the history
    TURNOVER = "turnover"  # price times volume
    PRICE_SQUARED_PER_VOLUME = "price squared per volume"

    @property
    def price_power(self) -> int:
        """The exponent p: if a split multiplies prices by f (and divides volumes by f), it multiplies the value by f^p.

        >>> ValueUnit.PRICE.price_power, ValueUnit.VOLUME.price_power
        (1, -1)
        """
        return _PRICE_POWERS[self]


_PRICE_POWERS = {
    ValueUnit.PRICE: 1,
    ValueUnit.PRICE_CHANGE: 1,
    ValueUnit.PRICE_SQUARED: 2,
    ValueUnit.RATIO: 0,
    ValueUnit.VOLUME: -1,
    ValueUnit.VOLUME_TOTAL: -1,
    ValueUnit.TURNOVER: 0,
    ValueUnit.PRICE_SQUARED_PER_VOLUME: 3,
}


class NoConversion(Exception):
    """Raised by `rescale` if the state cannot be converted after a split. The indicator then warms up again."""


class Indicator:
    """A running statistic of one symbol's bars. The size of its state depends only on its parameters.

    A spec such as `bollinger_20_2` consists of the class's `kind` and its `parameters` in order, joined by `_`. It is
    also the `name` of the value. An indicator with several values appends a suffix to the name for each.
    """

    __slots__ = ()

    kind: ClassVar[str]
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {}
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    """Suffixes of the names of the values, in the order in which they are written."""
    units: ClassVar[tuple[ValueUnit, ...]] = ()
    """Unit of each value, in the order of `suffixes`, or one unit for all. Empty: unknown."""
    accepts_input: ClassVar[bool] = False
    """Whether `sma_20@volume` and `sma_20(rsi_14)` are allowed. True only if `update` reads nothing but the close, and
    works with closes of 0 and below."""

    reads_quotes: ClassVar[bool] = False
    """Whether the indicator has `update_quote`."""

    reads_sessions: ClassVar[bool] = False
    """Whether the indicator has `use_sessions`."""

    @property
    def value_suffixes(self) -> tuple[str, ...]:
        """Suffixes of the values of this instance. An indicator of an indicator has those of the outer one."""
        return self.suffixes

    @property
    def components(self) -> tuple[Indicator, ...]:
        """Return the indicators that compute the values: this one, or those of `ema_20(rsi_14)`."""
        return (self,)

    def unit_of(self, suffix: str) -> ValueUnit | None:
        """Return the unit of the value with this suffix; None if the class does not declare it."""
        if not self.units:
            return None
        return self.units[0] if len(self.units) == 1 else self.units[self.suffixes.index(suffix)]

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        """Process one bar, with or without a trade, and write the new values to `values`.

        A value that has not warmed up or is undefined at this bar (0/0) is not written.
        """
        raise NotImplementedError

    def update_quote(self, quote: Quote) -> None:
        """Process a quote. The quotes of a time slice come before its bars; those before the first bar are skipped."""

    def use_sessions(self, days: Mapping[int, SessionTimes]) -> None:
        """Use the regular trading hours of these days, before the first bar and before `restore`."""

    def rescale(self, factor: float) -> None:
        """Convert the state after a split: multiply its prices by `factor`, divide its volumes by it.

        The values continue as if all earlier bars had been in new shares. Raises NoConversion if the state cannot be
        converted; the indicator then warms up again. An indicator without this method does so too.
        """
        raise NoConversion

    def snapshot(self) -> tuple[Any, ...]:
        """Return the state, without parameters, as a tuple of plain values that later updates do not change."""
        raise NotImplementedError

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore the state from the `snapshot()` of an indicator with the same spec."""
        raise NotImplementedError


def new_share_price(price: float, factor: float) -> float:
    """Return a price of old shares in new shares, for a split that multiplies prices by `factor`.

    The platform rounds the last close to nine decimals after a split, and bars repeat it until the next trade. A price
    of a bar, which has at most nine decimals, is rounded in the same way. Otherwise, the rounding error would look like
    a move of a price that has not moved. Other numbers, such as averages, are not rounded.

    >>> new_share_price(100.01, 1 / 3), new_share_price(100.01234567891234, 1 / 3)
    (33.336666667, 33.337448559637444)
    """
    rescaled = price * factor
    return round(rescaled, PRICE_DECIMALS) if round(price, PRICE_DECIMALS) == price else rescaled


def check_period(name: str, period: int, minimum: int = 1) -> None:
    """Raise BadInput if `period`, in bars, is below `minimum`."""
    if period < minimum:
        raise BadInput(f"indicator {name}: a period must be at least {minimum} bars, found {period}")
