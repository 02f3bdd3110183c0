"""What a company does to its shares, as events. `Ledger.act` and `TaxBook.act` turn the open lots accordingly.

Basis and holding time go on through splits, stock dividends and symbol changes (IRS Pub. 550, "Stock Splits",
"Stock Dividends"); money comes only with cash in lieu of a fraction, a delisting's last price, or a dividend.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from operators.money import ONE, is_not_negative, is_positive, multiply, quantize
from schemas.errors import InvalidField


class Split(NamedTuple):
    """`ratio` new shares for one old: 2 is a 2-for-1 split, 0.1 a 1-for-10 reverse split.

    With `cash_in_lieu`, a price per new share, the fraction of a share that is left is sold at it; else it is kept.
    """

    action_id: str
    ts_ns: int
    symbol: str
    ratio: Decimal
    cash_in_lieu: Decimal | None = None


class StockDividend(NamedTuple):
    """`rate` new shares for each held (0.05 is 5 %), not taxable: the basis is spread over more shares."""

    action_id: str
    ts_ns: int
    symbol: str
    rate: Decimal
    cash_in_lieu: Decimal | None = None

    @property
    def ratio(self) -> Decimal:
        return ONE + self.rate


class SymbolChange(NamedTuple):
    """From here on the holding goes by another symbol."""

    action_id: str
    ts_ns: int
    symbol: str
    new_symbol: str


class Delisting(NamedTuple):
    """All that is held is closed at `price`, 0 where the shares became worthless."""

    action_id: str
    ts_ns: int
    symbol: str
    price: Decimal


LedgerAction = Split | StockDividend | SymbolChange | Delisting


def validate_ledger_action(action: LedgerAction) -> None:
    """Raise `InvalidField` for an event that cannot be taken in."""
    if isinstance(action, Split | StockDividend):
        if not is_positive(action.ratio):
            raise InvalidField(f"{action.action_id}: ratio must be > 0, found {action.ratio}")
        if action.cash_in_lieu is not None and not is_not_negative(action.cash_in_lieu):
            raise InvalidField(f"{action.action_id}: cash_in_lieu must be >= 0, found {action.cash_in_lieu}")
    elif isinstance(action, Delisting) and not is_not_negative(action.price):
        raise InvalidField(f"{action.action_id}: price must be >= 0, found {action.price}")
    elif isinstance(action, SymbolChange) and action.symbol == action.new_symbol:
        raise InvalidField(f"{action.action_id}: new_symbol must differ from symbol, found {action.symbol}")


def fractional_part(quantity: Decimal) -> Decimal:
    """What a signed quantity holds beyond whole shares, signed alike.

    >>> fractional_part(Decimal("-33.3"))
    Decimal('-0.300000000')
    """
    return quantize(quantity - quantity.to_integral_value(rounding=ROUND_DOWN))


class CashDividend(NamedTuple):
    """`per_share` in account currency to whoever holds on the ex-date; who is short owes it. Paid on `pay_day`.

    Days are proleptic ordinals (`datetime.date.toordinal`).
    """

    action_id: str
    ex_day: int
    pay_day: int
    symbol: str
    per_share: Decimal

    def amount_for(self, quantity: Decimal) -> Decimal:
        """What a holding of `quantity` at the start of the ex-date gets, negative when it owes."""
        return multiply(quantity, self.per_share)
