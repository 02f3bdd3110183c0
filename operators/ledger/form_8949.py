"""Rows of IRS Form 8949, "Sales and Other Dispositions of Capital Assets", from matches of lots."""

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
    """One row, columns (a) to (h); `part_sums` is I for what was held one year or less, II for what was held longer.

    Amounts are in whole cents, and `gain = proceeds - basis + adjustment` holds for the rounded numbers.
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
    """Part I before part II, each in order of the matches."""
    rows = [_row(match) for match in matches]
    return sorted(rows, key=lambda row: row.part)


def _row(match: TaxMatch) -> FormRow:
    """Selling fees lower the proceeds, buying fees and carried losses raise the basis.

    A short sale is acquired and sold on the day that it was closed (instructions for columns (b) and (c)), and counts
    as short-term: what closes it was bought on that day.
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
    """The last day on which a holding acquired on `day` is still short-term."""
    try:
        return day.replace(year=day.year + 1)
    except ValueError:  # 29 February
        return date(day.year + 1, 2, 28)


def totals(rows: Iterable[FormRow]) -> dict[str, dict[str, Decimal]]:
    """Columns (d), (e), (g) and (h) summed by part."""
    sums: dict[str, dict[str, Decimal]] = {}
    for row in rows:
        part_sums = sums.setdefault(row.part, dict.fromkeys(("proceeds", "basis", "adjustment", "gain"), _ZERO_CENTS))
        part_sums["proceeds"] += row.proceeds
        part_sums["basis"] += row.basis
        part_sums["adjustment"] += row.adjustment
        part_sums["gain"] += row.gain
    return sums
