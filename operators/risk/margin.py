"""Margin requirements by class of instrument, as fractions of the position's value.

Sources: Regulation T (12 CFR 220.12): 50 % initial margin on longs, and on shorts in addition to the proceeds. FINRA
rule 4210(c): 25 % maintenance margin on longs, 30 % on shorts. A future requires the exchange's amount per contract.
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
    """Fractions of |position value| that equity must cover to open (initial) and to hold (maintenance) a position.

    name               name of the class, which `margin_class` of an instrument refers to
    initial_long       [fraction] equity to open a long position
    initial_short      [fraction] equity to open a short position
    maintenance_long   [fraction] equity to hold a long position
    maintenance_short  [fraction] equity to hold a short position
    """

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
            found = f"long {self.maintenance_long} of {self.initial_long}, short {self.maintenance_short} of"
            raise BadInput(
                f"margin class {self.name}: maintenance must not be above initial, found {found} {self.initial_short}"
            )


CASH_ONLY = MarginClass(
    name="cash_only",
    initial_long=Decimal(1),
    initial_short=Decimal(1),
    maintenance_long=Decimal(1),
    maintenance_short=Decimal(1),
)
"""No margin credit, as for crypto at Alpaca."""


@dataclass(frozen=True, kw_only=True)
class MarginSettings:
    """Margin rules of a margin account.

    classes  the rules; an instrument whose `margin_class` is not listed requires its full value
    """

    classes: tuple[MarginClass, ...] = (MarginClass(),)

    def class_of(self, instrument: Instrument) -> MarginClass:
        return next(
            (margin_class for margin_class in self.classes if margin_class.name == instrument.margin_class), CASH_ONLY
        )


class Requirement(NamedTuple):
    """Initial and maintenance margin in money."""

    initial: Decimal
    maintenance: Decimal


def requirement(settings: MarginSettings, instrument: Instrument, quantity: Decimal, price: Decimal) -> Requirement:
    """Return the margin that a position of `quantity` units (negative: short) at `price` requires.

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
    """One trade of a forced reduction. A negative `quantity` is a sale."""

    symbol: str
    quantity: Decimal


class MarginPosition(NamedTuple):
    """One position as input for the margin rules. `lot` is the step in which it can be reduced."""

    symbol: str
    instrument: Instrument
    quantity: Decimal
    price: Decimal
    lot: Decimal = Decimal(1)


def forced_reduction(
    settings: MarginSettings, equity: Decimal, positions: list[MarginPosition]
) -> list[ForcedReduction]:
    """Return the trades that bring equity back to the maintenance margin; empty if it is covered.

    Positions are reduced in descending order of their maintenance margin, ties by symbol. Each is reduced by the
    smallest sufficient number of whole lots. Closing at the last price does not change equity.
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
