"""Build the rows of IRS Form 8949, "Sales and Other Dispositions of Capital Assets", from lot matches."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import NamedTuple

from operators.adjustments import is_adjustment
from operators.ledger.asset_kinds import AssetKind
from operators.ledger.holding_period import is_long_term
from operators.ledger.tax_trades import TaxMatch
from operators.ledger.wash_sales import DAY_NS
from operators.money import EIGHTEEN_PLACES, plain
from schemas.records import LONG, LotDirection

REVIEW_MARK = " (adjustment: review date and price)"
"""Marks a row whose purchase or sale was taken over from the broker's position, and not reported as a trade."""
SHORT_TERM, LONG_TERM = "I", "II"
_CENT = Decimal("0.01")
_ZERO_CENTS = Decimal("0.00")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DIGITAL_ASSET_BOXES_SINCE = 2025


class Reported(StrEnum):
    """What the broker reported to the IRS on Form 1099-B or 1099-DA: basis and proceeds, only proceeds, or nothing."""

    BASIS = "basis"
    PROCEEDS = "proceeds"
    NONE = "none"


class Disposal(NamedTuple):
    """The sale of a part of a lot: all matches of one lot with one order on one day. Amounts are exact.

    Selling fees reduce the proceeds; buying fees and carried losses increase the basis. The following is exact:
    `gain = proceeds - basis + disallowed_loss`. `opened` is the day of the opening trade, `acquired` the date for the
    form, and `holding_from` the latter, shifted after a wash sale.
    """

    symbol: str
    asset_kind: AssetKind
    direction: LotDirection
    quantity: Decimal
    opened: date
    acquired: date
    holding_from: date
    sold: date
    proceeds: Decimal
    basis: Decimal
    disallowed_loss: Decimal
    gain: Decimal
    is_adjustment: bool

    @property
    def part(self) -> str:
        """The part of the form: I for a holding period of at most one year, II for a longer one."""
        return LONG_TERM if is_long_term(self.holding_from, self.sold) else SHORT_TERM


class FormRow(NamedTuple):
    """One row: part, box and columns (a) to (h). `part` is I for a holding period of at most one year, else II.

    Amounts are rounded to cents. `gain = proceeds - basis + adjustment` is exact for the rounded amounts.
    """

    part: str
    box: str
    description: str
    acquired: date
    sold: date
    proceeds: Decimal
    basis: Decimal
    code: str
    adjustment: Decimal
    gain: Decimal


@EIGHTEEN_PLACES.exact_sums
def disposals(matches: Iterable[TaxMatch]) -> list[Disposal]:
    """Return the disposals in order of the matches."""
    by_sale: dict[tuple[object, ...], Disposal] = {}
    for match in matches:
        disposal = _disposal(match)
        dates = (disposal.acquired, disposal.sold, disposal.holding_from)
        key = (match.symbol, match.open_id, match.direction, match.close_order, *dates)
        by_sale[key] = _sum(by_sale[key], disposal) if key in by_sale else disposal
    return list(by_sale.values())


def _disposal(match: TaxMatch) -> Disposal:
    """A short sale is acquired and sold on the day of its closing (instructions for columns (b) and (c)).

    It is short-term, because the closing units were bought on that day. Long units that were delivered instead have
    the date and the holding period of their own purchase.
    """
    closed_lot, sold = match.closed_lot, _day(match.closed_ns)
    if match.direction == LONG:
        acquired, holding_from = _day(match.opened_ns), _day(match.term_start_ns)
        proceeds = closed_lot.exit_value - closed_lot.exit_fees
        basis = closed_lot.entry_value + closed_lot.entry_fees + closed_lot.carried_loss
    else:
        acquired = holding_from = sold
        if match.delivered is not None:
            acquired, holding_from = _day(match.delivered.opened_ns), _day(match.delivered.term_start_ns)
        proceeds = -closed_lot.entry_value - closed_lot.entry_fees
        basis = -closed_lot.exit_value + closed_lot.exit_fees + closed_lot.carried_loss
    return Disposal(
        symbol=match.symbol,
        asset_kind=match.asset_kind,
        direction=match.direction,
        quantity=match.quantity,
        opened=_day(match.opened_ns),
        acquired=acquired,
        holding_from=holding_from,
        sold=sold,
        proceeds=proceeds,
        basis=basis,
        disallowed_loss=match.disallowed_loss,
        gain=match.gain,
        is_adjustment=is_adjustment(match.open_id) or is_adjustment(match.close_id),
    )


def _sum(a: Disposal, b: Disposal) -> Disposal:
    return a._replace(
        quantity=a.quantity + b.quantity,
        proceeds=a.proceeds + b.proceeds,
        basis=a.basis + b.basis,
        disallowed_loss=a.disallowed_loss + b.disallowed_loss,
        gain=a.gain + b.gain,
        is_adjustment=a.is_adjustment or b.is_adjustment,
    )


@EIGHTEEN_PLACES.exact_sums
def form_rows(sales: Iterable[Disposal], reported: Reported | None = None) -> list[FormRow]:
    """Return the rows of part I, then of part II, each in order of the disposals.

    With `reported` None, securities count as reported with their basis, all other assets as not reported.
    """
    rows = [_row(disposal, reported) for disposal in sales]
    return sorted(rows, key=lambda row: row.part)


def _row(disposal: Disposal, reported: Reported | None) -> FormRow:
    proceeds, basis = _cents(disposal.proceeds), _cents(disposal.basis)
    adjustment = _cents(disposal.disallowed_loss)
    unit = " sh. " if disposal.asset_kind is AssetKind.SECURITY else " "
    return FormRow(
        part=disposal.part,
        box=_box(disposal, reported),
        description=f"{plain(disposal.quantity)}{unit}{disposal.symbol}{REVIEW_MARK * disposal.is_adjustment}",
        acquired=disposal.acquired,
        sold=disposal.sold,
        proceeds=proceeds,
        basis=basis,
        code="W" if adjustment else "",
        adjustment=adjustment,
        gain=proceeds - basis + adjustment,
    )


def _box(disposal: Disposal, reported: Reported | None) -> str:
    """Return the box to check: A to F, and for digital assets sold since 2025 G to L."""
    if reported is None:
        reported = Reported.BASIS if disposal.asset_kind is AssetKind.SECURITY else Reported.NONE
    boxes = "ABCDEF"
    if disposal.asset_kind is AssetKind.DIGITAL_ASSET and disposal.sold.year >= _DIGITAL_ASSET_BOXES_SINCE:
        boxes = "GHIJKL"
    return boxes[list(Reported).index(reported) + (3 if disposal.part == LONG_TERM else 0)]


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)


def _day(ts_ns: int) -> date:
    return date.fromordinal(_EPOCH_DAY + ts_ns // DAY_NS)


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
