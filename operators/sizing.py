"""How much to hold: a strategy's view turned into a signed target quantity, rounded to lots, never beyond a cap.

Each function returns the number together with the arithmetic as text, which travels in `OrderProposal.sizing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from operators.money import ONE, ZERO, floor_to, multiply, plain, quantize, units_for
from schemas.errors import BadInput

SizingMethod = Literal["fixed_fraction", "target_percent", "fixed_quantity"]


@dataclass(frozen=True, kw_only=True)
class SizingSettings:
    """How a view becomes a quantity.

    * `fixed_fraction`: on entry, `fraction` of equity times the signal's strength; kept while the direction stays.
    * `target_percent`: `fraction` of equity times strength, traded to at each signal and each rebalance; a difference
      of less than `no_trade_band` (a share of the target's value) is left alone.
    * `fixed_quantity`: `quantity` units, whatever the strength.

    `lot_size` is the smallest step in units (0.0001 for fractional shares); quantities are rounded towards zero to it.
    """

    method: SizingMethod = "fixed_fraction"
    fraction: Decimal = Decimal("0.02")
    quantity: Decimal = Decimal(100)
    lot_size: Decimal = ONE
    no_trade_band: Decimal = Decimal("0.05")

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadInput(f"sizing method must be one of {', '.join(METHODS)}, found {self.method!r}")
        if not 0 < self.fraction <= 10:
            raise BadInput(f"sizing fraction must be in (0, 10], found {self.fraction}")
        if self.quantity <= 0:
            raise BadInput(f"sizing quantity must be > 0, found {self.quantity}")
        if self.lot_size <= 0 or quantize(self.lot_size) != self.lot_size:
            raise BadInput(f"sizing lot_size must be > 0 with at most 9 decimals, found {self.lot_size}")
        if not 0 <= self.no_trade_band < 1:
            raise BadInput(f"sizing no_trade_band must be in [0, 1), found {self.no_trade_band}")


class View(NamedTuple):
    """What a size is asked for. `held` is the strategy's present target, signed; `price` is what one unit costs.

    `lot_size` is the instrument's, where it is listed, else the settings'.
    """

    direction: int
    strength: Decimal
    price: Decimal
    equity: Decimal
    held: Decimal
    lot_size: Decimal


class Size(NamedTuple):
    """A signed target quantity, and how it came about."""

    quantity: Decimal
    text: str


def size(settings: SizingSettings, view: View) -> Size:
    """The quantity that the view asks for, before any cap. Direction 0, a price of 0 and lost equity ask for none.

    >>> size(SizingSettings(), View(1, ONE, Decimal("49.18"), Decimal(1000000), ZERO, ONE)).text
    'fixed_fraction 0.02 x equity 1000000 x strength 1 / 49.18 = 406'
    """
    if view.direction == 0:
        return Size(ZERO, "flat: direction 0")
    if view.price <= 0 or view.equity <= 0:
        return Size(ZERO, f"flat: price {plain(view.price)}, equity {plain(view.equity)}")
    return METHODS[settings.method](settings, view)


def _fixed_fraction(settings: SizingSettings, view: View) -> Size:
    if view.held and (view.held > 0) is (view.direction > 0):
        return Size(view.held, f"fixed_fraction: {plain(view.held)} held since entry")
    return _fraction_of_equity("fixed_fraction", settings, view)


def _target_percent(settings: SizingSettings, view: View) -> Size:
    target = _fraction_of_equity("target_percent", settings, view)
    if abs(target.quantity - view.held) < abs(target.quantity) * settings.no_trade_band:
        return Size(view.held, f"{target.text}; {plain(view.held)} is within the band of {settings.no_trade_band}")
    return target


def _fixed_quantity(settings: SizingSettings, view: View) -> Size:
    quantity = floor_to(settings.quantity, view.lot_size)
    return Size(quantity if view.direction > 0 else -quantity, f"fixed_quantity {plain(quantity)}")


def _fraction_of_equity(method: str, settings: SizingSettings, view: View) -> Size:
    notional = multiply(multiply(view.equity, settings.fraction), view.strength)
    quantity = units_for(notional, view.price, view.lot_size)
    text = (
        f"{method} {plain(settings.fraction)} x equity {plain(view.equity)} x strength {plain(view.strength)}"
        f" / {plain(view.price)} = {plain(quantity)}"
    )
    return Size(quantity if view.direction > 0 else -quantity, text)


def cap(wanted: Decimal, held: Decimal, limit: Decimal) -> Decimal:
    """`wanted` cut towards zero to at most `limit` units on either side.

    What is held already beyond the limit (the price moved) is not added to, and not taken away either.

    >>> cap(Decimal(100), held=Decimal(0), limit=Decimal(80)), cap(Decimal(100), held=Decimal(90), limit=Decimal(80))
    (Decimal('80'), Decimal('90'))
    """
    return min(wanted, max(limit, held)) if wanted > 0 else max(wanted, min(-limit, held))


METHODS: dict[str, Callable[[SizingSettings, View], Size]] = {
    "fixed_fraction": _fixed_fraction,
    "target_percent": _target_percent,
    "fixed_quantity": _fixed_quantity,
}
