"""Wash sales of one symbol, as IRS Publication 550 ("Wash Sales") has them.

A loss is disallowed as far as the units sold are replaced: bought within 30 days before or after the sale. The
disallowed loss goes into the basis of the replacement, and the time the sold units were held into its holding time.
Loss sales are matched in the order in which they happened with replacements in the order in which they were bought; a
unit replaces one unit only. Closing a short sale at a loss is the mirror image, another short sale its replacement.

What was bought together with the units sold is no replacement for them (Rev. Rul. 56-602: selling part of one
purchase), nor is what the same sale sold, nor what only closes a position of the other side.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from operators.ledger.lots import LotBook, OpenLot
from operators.money import ZERO, multiply, portion

DAY_NS = 86_400 * 10**9
WINDOW_DAYS = 30


class LossSale:
    """A closing match with a loss, as far as it still looks for a replacement. `units` and `loss` are positive."""

    __slots__ = ("day", "disallowed", "holding_ns", "is_long", "loss", "purchase_id", "units")

    def __init__(
        self, *, day: int, is_long: bool, units: Decimal, loss: Decimal, holding_ns: int, purchase_id: str
    ) -> None:
        self.day = day
        self.is_long = is_long
        self.units = units
        self.loss = loss
        self.holding_ns = holding_ns
        self.purchase_id = purchase_id
        self.disallowed = ZERO

    def replace(self, units: Decimal) -> Decimal:
        """`units` of it were replaced. Returns the loss that this disallows; the last unit takes what is left."""
        loss = self.loss if units == self.units else portion(self.loss, units, self.units)
        self.units -= units
        self.loss -= loss
        self.disallowed += loss
        return loss


class WashSales:
    """Finds replacements in a symbol's `LotBook`. `day` counts days; a lot's day is `opened_ns // DAY_NS`."""

    def __init__(self, book: LotBook) -> None:
        self._book = book
        self._open_sales: deque[LossSale] = deque()  # sold at a loss and not replaced yet, oldest first
        self._free_lots: deque[OpenLot] = deque()  # bought in the last 30 days and replacing nothing yet, oldest first

    def record_loss_sales(self, sales: list[LossSale]) -> None:
        """One trade closed lots at a loss. What was bought in the 30 days before replaces first."""
        if not sales:
            return
        self._drop_expired(sales[0].day)
        for sale in sales:
            for lot in list(self._free_lots):
                if not sale.units:
                    break
                can_replace = (lot.quantity > 0) is sale.is_long and lot.execution_id != sale.purchase_id
                # A lot leaves when it was closed since, or when all of it replaces something.
                if not lot.quantity or (can_replace and self._replace(sale, lot) is None):
                    self._free_lots.remove(lot)
            if sale.units:
                self._open_sales.append(sale)

    def record_purchase(self, lot: OpenLot) -> None:
        """A lot was opened: it replaces what was sold at a loss in the 30 days before, the oldest sale first."""
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
        """`ratio` new units for one old: what was sold before is looked for in new units."""
        for sale in self._open_sales:
            sale.units = multiply(sale.units, ratio)
        self._open_sales = deque(sale for sale in self._open_sales if sale.units)

    def _replace(self, sale: LossSale, lot: OpenLot) -> OpenLot | None:
        """Let the lot replace what it can of the sale. Returns what of the lot is left free."""
        available_units = abs(lot.quantity)
        if available_units <= sale.units:
            replacement_lot, free_lot = lot, None
        else:
            signed_units = sale.units if sale.is_long else -sale.units
            replacement_lot, free_lot = self._book.split_lot(lot, signed_units), lot
        loss = sale.replace(abs(replacement_lot.quantity))
        replacement_lot.is_replacement = True
        replacement_lot.holding_from_ns -= sale.holding_ns
        self._book.carry_loss(replacement_lot, loss)
        return free_lot

    def absorb(self, other: WashSales) -> None:
        """Take over what waits under the symbol's old name. The book has taken over the lots before."""
        self._free_lots = deque(lot for lot in self._book.lots_by_age() if not lot.is_replacement)
        self._open_sales = deque(sorted([*self._open_sales, *other._open_sales], key=lambda sale: sale.day))

    def _drop_expired(self, day: int) -> None:
        """Drop the sales that nothing bought from `day` on can replace, and the lots that replace nothing sold then."""
        while self._open_sales and self._open_sales[0].day < day - WINDOW_DAYS:
            self._open_sales.popleft()
        while self._free_lots and self._free_lots[0].opened_ns // DAY_NS < day - WINDOW_DAYS:
            self._free_lots.popleft()
