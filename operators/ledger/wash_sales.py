"""Wash sales of one symbol under IRS Publication 550 ("Wash Sales").

A loss is disallowed to the extent that the sold units are replaced, that is, bought within 30 days before or after the
sale. The disallowed loss is added to the basis of the replacement, and the holding time of the sold units to its
holding time. Loss sales are matched in order of time with replacements in order of purchase. A unit replaces only one
unit. Closing a short sale at a loss works the same way, with another short sale as the replacement.

The fills of one order on one day are one purchase or one sale. The following units are not replacements: units of the
same purchase as the sold units (Rev. Rul. 56-602: selling part of one purchase), units sold by the same sale, and units
that only close a position of the other side.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from itertools import chain

from operators.ledger.lots import LotBook
from operators.ledger.open_lot import OpenLot
from operators.ledger.split_ratio import split_quantity
from operators.money import EIGHTEEN_PLACES, ZERO

DAY_NS = 86_400 * 10**9
WINDOW_DAYS = 30


class LossSale:
    """The part of a loss sale that has no replacement yet. `units` and `loss` are positive."""

    __slots__ = ("day", "disallowed", "is_long", "loss", "purchase_id", "term_ns", "units")

    def __init__(
        self, *, day: int, is_long: bool, units: Decimal, loss: Decimal, term_ns: int, purchase_id: str
    ) -> None:
        self.day = day
        self.is_long = is_long
        self.units = units
        self.loss = loss
        self.term_ns = term_ns
        self.purchase_id = purchase_id
        self.disallowed = ZERO

    def replace(self, units: Decimal) -> Decimal:
        """Record `units` as replaced. Return the disallowed loss. The last units take the remaining loss."""
        loss = self.loss if units == self.units else EIGHTEEN_PLACES.portion(self.loss, units, self.units)
        self.units -= units
        self.loss -= loss
        self.disallowed += loss
        return loss


class WashSales:
    """Find replacements in a symbol's `LotBook`. A lot's day is `opened_ns // DAY_NS`."""

    def __init__(self, book: LotBook) -> None:
        self._book = book
        self._open_sales: deque[LossSale] = deque()  # loss sales without a replacement, oldest first
        self._free_lots: deque[OpenLot] = deque()  # lots of the last 30 days that replace no units, oldest first
        self._unfinished: dict[str, list[LossSale]] = {}  # order id -> loss sales of the fills before the last one

    def record_fill(self, order_id: str, sales: list[LossSale], *, is_last: bool) -> None:
        """Record the loss sales of one fill. With the last fill of the day, the order becomes one sale.

        Before that, it is unknown which of the earlier lots the order sells as well.
        """
        sales = [*self._unfinished.pop(order_id, []), *sales]
        if is_last:
            self._record_loss_sales(sales)
        elif sales:
            self._unfinished[order_id] = sales

    def _record_loss_sales(self, sales: list[LossSale]) -> None:
        """Record the loss sales of one order. Lots bought in the 30 days before replace them first."""
        if not sales:
            return
        self._drop_expired(sales[0].day)
        for sale in sales:
            for lot in list(self._free_lots):
                if not sale.units:
                    break
                can_replace = (lot.quantity > 0) is sale.is_long and lot.execution_id != sale.purchase_id
                # Drop a lot that is closed or that is completely used as a replacement.
                if not lot.quantity or (can_replace and self._replace(sale, lot) is None):
                    self._free_lots.remove(lot)
            if sale.units:
                self._open_sales.append(sale)

    def record_purchase(self, lot: OpenLot) -> None:
        """Record an opened lot. It replaces the loss sales of the 30 days before, the oldest first."""
        self._drop_expired(lot.opened_ns // DAY_NS)
        free_lot: OpenLot | None = lot
        unmatched: list[LossSale] = []
        while free_lot is not None and self._open_sales:
            sale = self._open_sales.popleft()
            if sale.is_long is (free_lot.quantity > 0) and free_lot.execution_id != sale.purchase_id:
                free_lot = self._replace(sale, free_lot)
            if sale.units:
                unmatched.append(sale)
        self._open_sales.extendleft(reversed(unmatched))
        if free_lot is not None:
            self._free_lots.append(free_lot)

    def split(self, ratio: Decimal) -> None:
        """Convert the open loss sales to new units after a split: `ratio` new units per old unit."""
        for sale in [*self._open_sales, *chain.from_iterable(self._unfinished.values())]:
            sale.units = split_quantity(sale.units, ratio, EIGHTEEN_PLACES)
        self._open_sales = deque(sale for sale in self._open_sales if sale.units)

    def _replace(self, sale: LossSale, lot: OpenLot) -> OpenLot | None:
        """Use a lot as a replacement for as many units of the sale as possible. Return the unused lot, or None."""
        available_units = abs(lot.quantity)
        if available_units <= sale.units:
            replacement_lot, free_lot = lot, None
        else:
            signed_units = sale.units if sale.is_long else -sale.units
            replacement_lot, free_lot = self._book.split_lot(lot, signed_units), lot
        loss = sale.replace(abs(replacement_lot.quantity))
        replacement_lot.is_replacement = True
        replacement_lot.term_start_ns -= sale.term_ns
        self._book.carry_loss(replacement_lot, loss)
        return free_lot

    def absorb(self, other: WashSales) -> None:
        """Add the open loss sales of the symbol's old name. Call after the book has absorbed the lots."""
        self._free_lots = deque(lot for lot in self._book.lots_by_age() if not lot.is_replacement)
        self._open_sales = deque(sorted([*self._open_sales, *other._open_sales], key=lambda sale: sale.day))
        self._unfinished.update(other._unfinished)

    def _drop_expired(self, day: int) -> None:
        """Drop the loss sales and lots that are outside the 30-day window on `day`."""
        while self._open_sales and self._open_sales[0].day < day - WINDOW_DAYS:
            self._open_sales.popleft()
        while self._free_lots and self._free_lots[0].opened_ns // DAY_NS < day - WINDOW_DAYS:
            self._free_lots.popleft()
