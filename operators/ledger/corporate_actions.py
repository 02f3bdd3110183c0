"""Corporate actions as ledger events. `Ledger.apply_action` and `TaxBook.apply_action` apply them to the open lots.

Splits, stock dividends and symbol changes preserve basis and holding time (IRS Pub. 550, "Stock Splits", "Stock
Dividends"). Cash is paid only in lieu of a fraction, at a delisting, or as a dividend.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from operators.money import ONE, is_not_negative, is_positive, multiply, quantize
from schemas.errors import InvalidField


class Split(NamedTuple):
    """`ratio` new shares per old share: 2 is a 2-for-1 split, 0.1 a 1-for-10 reverse split.

    `cash_in_lieu` is a price per new share at which the remaining fraction of a share is sold; None keeps the fraction.
    """

    action_id: str
    ts_ns: int
    symbol: str
    ratio: Decimal
    cash_in_lieu: Decimal | None = None


class StockDividend(NamedTuple):
    """`rate` new shares per share held (0.05 is 5 %). Not taxable; the basis is spread over more shares."""

    action_id: str
    ts_ns: int
    symbol: str
    rate: Decimal
    cash_in_lieu: Decimal | None = None

    @property
    def ratio(self) -> Decimal:
        return ONE + self.rate


class SymbolChange(NamedTuple):
    """The position moves to `new_symbol`."""

    action_id: str
    ts_ns: int
    symbol: str
    new_symbol: str


class SpinOff(NamedTuple):
    """`ratio` shares of `new_symbol` are distributed per share held; also for subscription rights.

    `cost_share` of the basis moves to them. The company publishes it, by the fair market values (IRS Form 8937). They
    take over the holding time (IRS Pub. 550, "Spin-offs", for a distribution that is not taxable).
    """

    action_id: str
    ts_ns: int
    symbol: str
    new_symbol: str
    ratio: Decimal
    cost_share: Decimal
    cash_in_lieu: Decimal | None = None


class MergerCash(NamedTuple):
    """`cash` is paid per share in a merger that also exchanges each share for `ratio` shares worth `share_value` each.

    The gain, as if the share had been sold for cash and new shares, is realized up to the cash; a loss is not. The
    basis falls by the cash and rises by the realized gain (IRC sec. 356, 358; IRS Pub. 550, "Corporate
    reorganizations"). The exchange of the shares follows as a split and a symbol change.
    """

    action_id: str
    ts_ns: int
    symbol: str
    cash: Decimal
    share_value: Decimal
    ratio: Decimal


class Delisting(NamedTuple):
    """The position is closed at `price`, 0 if the shares are worthless."""

    action_id: str
    ts_ns: int
    symbol: str
    price: Decimal


LedgerAction = Split | StockDividend | SymbolChange | Delisting | SpinOff | MergerCash


def validate_ledger_action(action: LedgerAction) -> None:
    """Raise `InvalidField` for an invalid event."""
    if isinstance(action, Split | StockDividend | SpinOff | MergerCash) and not is_positive(action.ratio):
        raise InvalidField(f"{action.action_id}: ratio must be > 0, found {action.ratio}")
    if isinstance(action, Split | StockDividend | SpinOff):
        if action.cash_in_lieu is not None and not is_not_negative(action.cash_in_lieu):
            raise InvalidField(f"{action.action_id}: cash_in_lieu must be >= 0, found {action.cash_in_lieu}")
    elif isinstance(action, Delisting) and not is_not_negative(action.price):
        raise InvalidField(f"{action.action_id}: price must be >= 0, found {action.price}")
    elif isinstance(action, MergerCash):
        for name, value in (("cash", action.cash), ("share_value", action.share_value)):
            if not is_not_negative(value):
                raise InvalidField(f"{action.action_id}: {name} must be >= 0, found {value}")
    if isinstance(action, SymbolChange | SpinOff) and action.symbol == action.new_symbol:
        raise InvalidField(f"{action.action_id}: new_symbol must differ from symbol, found {action.symbol}")


def fractional_units(quantity: Decimal) -> Decimal:
    """Return the fraction of a signed quantity beyond whole shares, with the same sign.

    >>> fractional_units(Decimal("-33.3"))
    Decimal('-0.300000000')
    """
    return quantize(quantity - quantity.to_integral_value(rounding=ROUND_DOWN))


class CashDividend(NamedTuple):
    """A dividend of `per_share` in account currency for positions on the ex-date, paid on `pay_day`. Shorts pay it.

    Days are proleptic ordinals (`datetime.date.toordinal`).
    """

    action_id: str
    ex_day: int
    pay_day: int
    symbol: str
    per_share: Decimal

    def amount_for(self, quantity: Decimal) -> Decimal:
        """The amount for a position of `quantity` units at the start of the ex-date, negative if payable."""
        return multiply(quantity, self.per_share)
