"""The books from which a check starts: empty ones, or those of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from deploy.verification.naive_ledger import NaiveLedger, NaiveLot
from operators.ledger import Ledger


class BooksAtSlice(NamedTuple):
    """The books after the time slice `slice_ns`, -1 for empty ones.

    `prices` are the last ones by symbol, `accrued_dividends` those that are not paid yet, by corporate action.
    """

    slice_ns: int
    ledger: Ledger
    prices: Mapping[str, float] = {}
    accrued_dividends: Mapping[str, Decimal] = {}


def naive_books(
    ledger: Ledger, accrued_dividends: Mapping[str, Decimal], rate: Callable[[str, int], Decimal]
) -> NaiveLedger:
    """Return a naive ledger with the books of `ledger`. `rate` is that of `NaiveLedger`."""
    naive = NaiveLedger(ledger.cash, ledger.unit_value, rate)
    naive.fees, naive.realized, naive.income = (
        Fraction(amount) for amount in (ledger.fees, ledger.realized_pnl, ledger.income)
    )
    naive.unpaid = {action_id: Fraction(amount) for action_id, amount in accrued_dividends.items()}
    for position in ledger.positions():
        lots = [NaiveLot(Fraction(lot.quantity), Fraction(lot.cost), lot.opened_ns) for lot in position.lots]
        naive.lots[position.symbol] = lots
        if position.book.rounding_remainder:
            naive.was_split.add(position.symbol)
    return naive
