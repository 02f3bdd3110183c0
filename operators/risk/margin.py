"""Margin of a portfolio by class of instrument. All values as fractions of the position's value.

Sources: Regulation T (12 CFR 220.12): 50 % initial on longs and on shorts on top of the proceeds; FINRA rule 4210(c):
25 % maintenance on longs, 30 % on shorts. A future needs the exchange's money per contract instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from operators.instruments import Instrument
from operators.money import ZERO, multiply
from schemas.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class MarginClass:
    """Fractions of |position value| that must be covered by equity to open (initial) and to keep (maintenance)."""

    name: str = "equity"
    initial_long: Decimal = Decimal("0.50")
    initial_short: Decimal = Decimal("0.50")
    maintenance_long: Decimal = Decimal("0.25")
    maintenance_short: Decimal = Decimal("0.30")

    def __post_init__(self) -> None:
        for field in ("initial_long", "initial_short", "maintenance_long", "maintenance_short"):
            value = getattr(self, field)
            if not (value.is_finite() and value >= 0):
                raise BadInput(f"margin class {self.name}: {field} must be at least 0, found {value}")
        if self.maintenance_long > self.initial_long or self.maintenance_short > self.initial_short:
            raise BadInput(f"margin class {self.name}: maintenance must not be above initial")


CASH_ONLY = MarginClass(
    name="cash_only",
    initial_long=Decimal(1),
    initial_short=Decimal(1),
    maintenance_long=Decimal(1),
    maintenance_short=Decimal(1),
)
"""No credit at all: Alpaca lends nothing on crypto."""


@dataclass(frozen=True, kw_only=True)
class MarginSettings:
    """Margin rules by `Instrument.margin_class`; an instrument of a class that is not listed needs its full value."""

    classes: tuple[MarginClass, ...] = (MarginClass(),)

    def class_of(self, instrument: Instrument) -> MarginClass:
        return next(
            (margin_class for margin_class in self.classes if margin_class.name == instrument.margin_class), CASH_ONLY
        )


class Requirement(NamedTuple):
    """Money that equity must cover."""

    initial: Decimal
    maintenance: Decimal


def requirement(settings: MarginSettings, instrument: Instrument, quantity: Decimal, price: Decimal) -> Requirement:
    """What holding `quantity` (negative: short) at `price` requires.

    >>> short = requirement(MarginSettings(), Instrument(symbol="AAPL"), Decimal(-100), Decimal(50))
    >>> int(short.initial), int(short.maintenance)
    (2500, 1500)
    """
    if not quantity:
        return Requirement(ZERO, ZERO)
    if instrument.margin_initial is not None:
        per_contract = multiply(abs(quantity), instrument.margin_initial)
        return Requirement(per_contract, per_contract)
    rule = settings.class_of(instrument)
    value = instrument.notional(abs(quantity), price)
    if quantity > 0:
        return Requirement(multiply(value, rule.initial_long), multiply(value, rule.maintenance_long))
    return Requirement(multiply(value, rule.initial_short), multiply(value, rule.maintenance_short))


class ForcedReduction(NamedTuple):
    """Part of a forced reduction: `quantity` to trade, negative to sell."""

    symbol: str
    quantity: Decimal


class MarginPosition(NamedTuple):
    """One position as the margin rules see it; `lot` is the step in which it can be reduced."""

    symbol: str
    instrument: Instrument
    quantity: Decimal
    price: Decimal
    lot: Decimal = Decimal(1)


def forced_reduction(
    settings: MarginSettings, equity: Decimal, positions: list[MarginPosition]
) -> list[ForcedReduction]:
    """What to close so that maintenance margin is covered again; empty where it is.

    The rule: positions in the order of the maintenance they require, largest first, ties by symbol; each by as many
    whole lots as are needed and no more, at the price at hand (closing at it does not change equity).
    """
    requirements = [
        (requirement(settings, position.instrument, position.quantity, position.price).maintenance, position)
        for position in positions
    ]
    shortfall = sum((maintenance for maintenance, _ in requirements), ZERO) - equity
    out: list[ForcedReduction] = []
    for maintenance, position in sorted(requirements, key=lambda pair: (-pair[0], pair[1].symbol)):
        if shortfall <= 0:
            break
        lot = position.lot
        per_lot = requirement(
            settings, position.instrument, lot.copy_sign(position.quantity), position.price
        ).maintenance
        if per_lot <= 0:
            continue
        lots = (shortfall / per_lot).to_integral_value(ROUND_CEILING)
        quantity = min(abs(position.quantity), lots * lot)
        out.append(ForcedReduction(position.symbol, -quantity.copy_sign(position.quantity)))
        shortfall -= min(maintenance, lots * per_lot)
    return out
