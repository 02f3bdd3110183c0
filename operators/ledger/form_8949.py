"""Build the rows of IRS Form 8949, "Sales and Other Dispositions of Capital Assets", from lot matches."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from operators.ledger.tax_book import TaxMatch
from operators.ledger.wash_sales import DAY_NS
from operators.money import plain

_CENT = Decimal("0.01")
_ZERO_CENTS = Decimal("0.00")
_EPOCH_DAY = date(1970, 1, 1).toordinal()


class FormRow(NamedTuple):
    """One row, columns (a) to (h). `part` is I for a holding period of at most one year, and II for a longer one.

    Amounts are rounded to cents. `gain = proceeds - basis + adjustment` is exact for the rounded amounts.
    """

    part: str
    description: str
    acquired: date
    sold: date
    proceeds: Decimal
    basis: Decimal
    code: str
    adjustment: Decimal
    gain: Decimal


def form_rows(matches: Iterable[TaxMatch]) -> list[FormRow]:
    """Return the rows of part I, then of part II, each in order of the matches."""
    rows = [_row(match) for match in matches]
    return sorted(rows, key=lambda row: row.part)


def _row(match: TaxMatch) -> FormRow:
    """Build the row of one match. Selling fees reduce the proceeds; buying fees and carried losses increase the basis.

    A short sale is acquired and sold on the day of its closing (instructions for columns (b) and (c)). It is
    short-term, because the closing units were bought on that day.
    """
    closed_lot, sold = match.closed_lot, _day(match.closed_ns)
    if closed_lot.quantity > 0:
        acquired = _day(match.opened_ns)
        proceeds = closed_lot.exit_value - closed_lot.exit_fees
        basis = closed_lot.entry_value + closed_lot.entry_fees + closed_lot.carried_loss
        part = "II" if sold > _year_after(_day(match.holding_from_ns)) else "I"
    else:
        acquired, part = sold, "I"
        proceeds = -closed_lot.entry_value - closed_lot.entry_fees
        basis = -closed_lot.exit_value + closed_lot.exit_fees + closed_lot.carried_loss
    proceeds, basis, adjustment = (_cents(amount) for amount in (proceeds, basis, match.disallowed_loss))
    code = "W" if adjustment else ""
    description = f"{plain(match.quantity)} sh. {match.symbol}"
    return FormRow(part, description, acquired, sold, proceeds, basis, code, adjustment, proceeds - basis + adjustment)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)


def _day(ts_ns: int) -> date:
    return date.fromordinal(_EPOCH_DAY + ts_ns // DAY_NS)


def _year_after(day: date) -> date:
    """The last day on which a position acquired on `day` is short-term."""
    try:
        return day.replace(year=day.year + 1)
    except ValueError:  # 29 February
        return date(day.year + 1, 2, 28)


def totals(rows: Iterable[FormRow]) -> dict[str, dict[str, Decimal]]:
    """Return the sums of columns (d), (e), (g) and (h) by part."""
    sums: dict[str, dict[str, Decimal]] = {}
    for row in rows:
        part_sums = sums.setdefault(row.part, dict.fromkeys(("proceeds", "basis", "adjustment", "gain"), _ZERO_CENTS))
        part_sums["proceeds"] += row.proceeds
        part_sums["basis"] += row.basis
        part_sums["adjustment"] += row.adjustment
        part_sums["gain"] += row.gain
    return sums
