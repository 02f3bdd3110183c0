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

    __slots__ = ("day", "disallowed", "held_ns", "long", "loss", "purchase_id", "units")

    def __init__(self, *, day: int, long: bool, units: Decimal, loss: Decimal, held_ns: int, purchase_id: str) -> None:
        self.day = day
        self.long = long
        self.units = units
        self.loss = loss
        self.held_ns = held_ns
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
        self._waiting: deque[LossSale] = deque()  # sold at a loss and not replaced yet, oldest first
        self._free: deque[OpenLot] = deque()  # bought in the last 30 days and replacing nothing yet, oldest first

    def sold(self, sales: list[LossSale]) -> None:
        """One trade closed lots at a loss. What was bought in the 30 days before replaces first."""
        if not sales:
            return
        self._forget(sales[0].day)
        for sale in sales:
            for lot in list(self._free):
                if not sale.units:
                    break
                fits = (lot.quantity > 0) is sale.long and lot.execution_id != sale.purchase_id
                # A lot leaves when it was closed since, or when all of it replaces something.
                if not lot.quantity or (fits and self._replace(sale, lot) is None):
                    self._free.remove(lot)
            if sale.units:
                self._waiting.append(sale)

    def bought(self, lot: OpenLot) -> None:
        """A lot was opened: it replaces what was sold at a loss in the 30 days before, the oldest sale first."""
        self._forget(lot.opened_ns // DAY_NS)
        free: OpenLot | None = lot
        passed: list[LossSale] = []
        while free is not None and self._waiting:
            sale = self._waiting.popleft()
            if sale.long is (free.quantity > 0) and free.execution_id != sale.purchase_id:
                free = self._replace(sale, free)
            if sale.units:
                passed.append(sale)
        self._waiting.extendleft(reversed(passed))
        if free is not None:
            self._free.append(free)

    def split(self, ratio: Decimal) -> None:
        """`ratio` new units for one old: what was sold before is looked for in new units."""
        for sale in self._waiting:
            sale.units = multiply(sale.units, ratio)
        self._waiting = deque(sale for sale in self._waiting if sale.units)

    def _replace(self, sale: LossSale, lot: OpenLot) -> OpenLot | None:
        """Let the lot replace what it can of the sale. Returns what of the lot is left free."""
        available = abs(lot.quantity)
        if available <= sale.units:
            used, free = lot, None
        else:
            signed = sale.units if sale.long else -sale.units
            used, free = self._book.divide(lot, signed), lot
        loss = sale.replace(abs(used.quantity))
        used.replacement = True
        used.holding_from_ns -= sale.held_ns
        self._book.carry(used, loss)
        return free

    def join(self, other: WashSales) -> None:
        """Take over what waits under the symbol's old name. The book has taken over the lots before."""
        self._free = deque(lot for lot in self._book.by_age() if not lot.replacement)
        self._waiting = deque(sorted([*self._waiting, *other._waiting], key=lambda sale: sale.day))

    def _forget(self, day: int) -> None:
        """Drop the sales that nothing bought from `day` on can replace, and the lots that replace nothing sold then."""
        while self._waiting and self._waiting[0].day < day - WINDOW_DAYS:
            self._waiting.popleft()
        while self._free and self._free[0].opened_ns // DAY_NS < day - WINDOW_DAYS:
            self._free.popleft()
