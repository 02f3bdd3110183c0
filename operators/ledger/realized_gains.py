"""Sum realized gains by year, symbol and holding period, as Schedule D needs them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from operators.ledger.form_8949 import LONG_TERM, Disposal, form_rows
from operators.money import EIGHTEEN_PLACES

ALL_SYMBOLS = "(all)"
_ZERO_CENTS = Decimal("0.00")


class RealizedGain(NamedTuple):
    """The sum of the disposals of one year, symbol and term: `gain = proceeds - basis + adjustment`, in cents."""

    year: int
    symbol: str
    term: str
    sales: int
    proceeds: Decimal
    basis: Decimal
    adjustment: Decimal
    gain: Decimal


@EIGHTEEN_PLACES.exact_sums
def realized_gains(disposals: Iterable[Disposal]) -> list[RealizedGain]:
    """Return the gains by year, symbol and term, and at the end of each year those of all symbols.

    They are sums of the rounded rows of Form 8949, so that they agree with Schedule D.
    """
    sums: dict[tuple[int, bool, str, bool], RealizedGain] = {}
    for disposal in disposals:
        (row,), year = form_rows([disposal]), disposal.sold.year
        is_long = row.part == LONG_TERM
        for symbol in (disposal.symbol, ALL_SYMBOLS):
            key = (year, symbol == ALL_SYMBOLS, symbol, is_long)
            term = "long" if is_long else "short"
            old = sums.get(key, RealizedGain(year, symbol, term, 0, *[_ZERO_CENTS] * 4))
            sums[key] = old._replace(
                sales=old.sales + 1,
                proceeds=old.proceeds + row.proceeds,
                basis=old.basis + row.basis,
                adjustment=old.adjustment + row.adjustment,
                gain=old.gain + row.gain,
            )
    return [sums[key] for key in sorted(sums)]
