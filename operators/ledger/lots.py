"""The lots of one symbol, matched by FIFO, LIFO, HIFO, average cost or specific identification.

The ledger and the tax books both use this module. It contains no cash, records or taxes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, get_args

from operators.ledger.open_lot import OpenLot
from operators.ledger.split_ratio import ROUNDING_REMAINDER, exact_ratio, split_price, split_quantity
from operators.money import NINE_PLACES, ZERO, Places
from schemas.errors import BadInput, InvalidField

LotMethod = Literal["fifo", "lifo", "hifo", "average", "specific"]
FIFO: Final = "fifo"
LIFO: Final = "lifo"
HIFO: Final = "hifo"
AVERAGE: Final = "average"
SPECIFIC: Final = "specific"
METHODS: tuple[LotMethod, ...] = get_args(LotMethod)


class ClosedLot(NamedTuple):
    """A lot, or part of a lot, matched by a closing trade. Quantity and values are signed like the lot.

    `pnl` is `exit_value - entry_value`, before fees and carried losses. `lot` is the matched lot after the close, with
    the quantity that is still open.
    """

    lot: OpenLot
    quantity: Decimal
    entry_price: Decimal
    entry_value: Decimal
    exit_value: Decimal
    pnl: Decimal
    entry_fees: Decimal
    exit_fees: Decimal
    carried_loss: Decimal


class LotBook:
    """The open lots of one symbol under one method.

    * fifo: oldest first. lifo: newest first.
    * hifo: highest entry price first (including carried losses); at equal prices, the older lot first; also for shorts.
    * average: every unit has the average cost, fee and carried loss of all open units; lots close oldest first.
    * specific: the lots specified with the trade, in that order, then oldest first.

    Quantities, prices and amounts have `places`: nine in the running books, 18 in tax books. Raises BadInput for an
    unknown method.
    """

    __slots__ = (
        "_places",
        "average",
        "carried_loss",
        "cost",
        "fees",
        "lots",
        "method",
        "quantity",
        "rounding_remainder",
    )

    def __init__(self, method: LotMethod = FIFO, places: Places = NINE_PLACES) -> None:
        if method not in METHODS:
            raise BadInput(f"lot method must be one of {', '.join(METHODS)}, found {method!r}")
        self.method = method
        self._places = places
        self.lots: deque[OpenLot] = deque()  # oldest first; under hifo the lowest price first
        self.quantity = ZERO
        self.cost = ZERO
        self.fees = ZERO  # opening fees of the open lots
        self.carried_loss = ZERO
        self.rounding_remainder = ZERO
        self.average = ZERO  # average entry price per open unit; under average cost only

    def close(
        self,
        quantity: Decimal,
        value: Decimal,
        fee: Decimal,
        lot_ids: Sequence[str] = (),
        *,
        retain_remainder: bool = False,
    ) -> tuple[list[ClosedLot], Decimal, Decimal, Decimal]:
        """Match a trade (signed quantity and value) with lots of the other side.

        Return the matches, and the remaining quantity, value and fee, with which the caller opens a lot. A trade that
        leaves at most the rounding remainder of the position closes it; any other changes it by its exact quantity.
        With `retain_remainder`, every trade does.
        """
        matches: list[ClosedLot] = []
        portion = self._places.portion
        remaining, remaining_value, remaining_fee = quantity, value, fee
        remainder_max = ZERO if retain_remainder else self.rounding_remainder
        closes_all = abs(self.quantity) <= abs(quantity) + remainder_max
        while self.quantity and (self.quantity < 0) is (quantity > 0) and (remaining or closes_all):
            lot = self._next_lot(lot_ids)
            lot_quantity = lot.quantity
            closes_lot = closes_all or abs(lot_quantity) <= abs(remaining)
            closed_quantity = lot_quantity if closes_lot else -remaining
            remaining = remaining + closed_quantity
            is_last = closed_quantity == self.quantity if closes_all else not remaining
            if is_last and abs(remaining) <= remainder_max:
                remaining = ZERO
            # `value` and `quantity` have the opposite sign of the lot, so this share of the value has the lot's sign.
            if remaining or not is_last:
                exit_value = portion(value, closed_quantity, quantity)
                exit_fee = portion(fee, -closed_quantity, quantity) if fee else fee
            else:
                exit_value, exit_fee = -remaining_value, remaining_fee
            remaining_value += exit_value
            remaining_fee -= exit_fee
            matches.append(self._close_units(lot, closed_quantity, exit_value, exit_fee))
        return matches, remaining, remaining_value, remaining_fee

    def open(self, lot: OpenLot) -> None:
        """Add a lot on the side of the position."""
        assert not self.quantity or (self.quantity > 0) is (lot.quantity > 0), "lot opened against the position's side"
        self.quantity += lot.quantity
        self.cost += lot.cost
        if lot.fees:
            self.fees += lot.fees
        if lot.carried_loss:
            self.carried_loss += lot.carried_loss
        if self.method == AVERAGE:
            self.average += self._places.portion(lot.price - self.average, lot.quantity, self.quantity)
            lot.cost = lot.fees = lot.carried_loss = ZERO  # the totals contain them; `open_lots` allocates them
        self.insert(lot)

    def add_lots(self, lots: Iterable[OpenLot]) -> None:
        """Add lots of a symbol change or distribution, which can be older than those of this book."""
        for lot in lots:
            self.open(lot)
        if self.method == HIFO:
            price = self._price_with_carried_loss
            self.lots = deque(sorted(self.lots, key=lambda lot: (price(lot), -lot.opened_ns)))
        else:
            self.lots = deque(sorted(self.lots, key=_opened_ns_of))

    def insert(self, lot: OpenLot) -> None:
        """Insert a lot at its position in the order of the method. The totals already include its amounts."""
        if self.method == HIFO:
            price = self._price_with_carried_loss
            self.lots.insert(bisect_left(self.lots, price(lot), key=price), lot)
        else:
            self.lots.append(lot)

    def carry_loss(self, lot: OpenLot, loss: Decimal) -> None:
        """Move a disallowed loss (positive) into an open lot."""
        self.carried_loss += loss
        if self.method != AVERAGE:
            lot.carried_loss += loss
        if self.method == HIFO:
            self.lots.remove(lot)
            self.insert(lot)

    def split_lot(self, lot: OpenLot, quantity: Decimal) -> OpenLot:
        """Split `quantity` (signed) off an open lot into a new lot, inserted before it. Return the new lot."""
        new_lot = lot.split_off(quantity, self._places)
        self.lots.insert(self.lots.index(lot), new_lot)
        return new_lot

    def lots_by_age(self) -> list[OpenLot]:
        """The open lots, oldest first. Under average cost, their amounts are in the totals."""
        return sorted(self.lots, key=_opened_ns_of) if self.method == HIFO else list(self.lots)

    def split(self, ratio: Decimal) -> None:
        """Split into `ratio` new units per old unit. Cost, fees and holding times do not change.

        The total is that of `split_quantity`. Each lot gets its share, the last lot the remainder. A lot without units
        is merged into another lot. Raises `InvalidField` if no units would remain.
        """
        if not self.quantity:
            return
        before, after = self.quantity, split_quantity(self.quantity, ratio, self._places)
        if abs(after) <= ROUNDING_REMAINDER:
            raise InvalidField(f"split ratio must leave at least {ROUNDING_REMAINDER} of {before} units, found {ratio}")
        if self._places is NINE_PLACES:
            self.rounding_remainder = ROUNDING_REMAINDER
        remainder = after
        for lot in self.lots:
            lot.quantity = self._places.portion(after, lot.quantity, before)
            remainder -= lot.quantity
            lot.price = split_price(lot.price, ratio, self._places)
        self.average = split_price(self.average, ratio, self._places)
        self.lots[-1].quantity += remainder
        self.quantity = after
        self._merge_empty()

    def spin_off(self, ratio: Decimal, cost_share: Decimal) -> list[OpenLot]:
        """Return lots of `ratio` distributed units per open unit. They take over `cost_share` of the basis.

        They keep the ids, with a suffix, and the holding times. The last lot takes the remainder of the units.
        """
        places = self._places
        units_left, lots = split_quantity(self.quantity, ratio, places), list(self.open_lots())
        total, new_lots = units_left, list[OpenLot]()
        for lot, own in zip(lots, self.lots_by_age(), strict=True):
            units = units_left if lot is lots[-1] else places.portion(total, lot.quantity, self.quantity)
            if not units:
                continue
            cost, loss = places.multiply(lot.cost, cost_share), places.multiply(lot.carried_loss, cost_share)
            units_left -= units
            price = split_price(places.multiply(lot.price, cost_share), ratio, places)
            if self.method != AVERAGE:
                own.cost, own.carried_loss = own.cost - cost, own.carried_loss - loss
                own.price -= places.multiply(own.price, cost_share)
            self.cost, self.carried_loss = self.cost - cost, self.carried_loss - loss
            lot_id = f"{lot.lot_id}/s"
            new_lot = OpenLot(lot_id, lot.opened_ns, units, price, cost, ZERO, lot.execution_id, loss)
            new_lot.term_start_ns, new_lot.strategy = lot.term_start_ns, lot.strategy
            new_lots.append(new_lot)
        self.average -= places.multiply(self.average, cost_share)
        return new_lots

    def pay_merger_cash(
        self, cash: Decimal, share_value: Decimal, ratio: Decimal, unit_value: Decimal
    ) -> tuple[Decimal, list[ClosedLot]]:
        """Pay `cash` per unit in a merger that also exchanges each unit for `ratio` units worth `share_value` each.

        Return the cash, signed like the position, and the realized gain of each lot that has one: what the lot is worth
        above its basis, but at most its cash. The basis falls by the cash and rises by the gain. A short position is
        the mirror image. In tax books, the basis includes fees and carried losses. `unit_value` is the value of one
        unit at a price of 1.
        """
        places, exact = self._places, exact_ratio(ratio)
        total = paid_left = places.multiply(places.multiply(self.quantity, cash), unit_value)
        lots, cost_before = list(self.open_lots()), self.cost
        gains: list[ClosedLot] = []
        for lot, own in zip(lots, self.lots_by_age(), strict=True):
            paid = paid_left if lot is lots[-1] else places.portion(total, lot.quantity, self.quantity)
            paid_left -= paid
            value = places.multiply(places.multiply(lot.quantity, share_value), unit_value)
            received = places.portion(value, Decimal(exact.numerator), Decimal(exact.denominator))
            basis = lot.cost if places is NINE_PLACES else lot.cost + lot.fees + lot.carried_loss
            above = abs(paid + received) - abs(basis)
            gain = min(max(above, ZERO), abs(paid)).copy_sign(self.quantity)
            returned = paid - gain  # the part of the cash that returns basis
            self.cost -= returned
            if self.method != AVERAGE:
                own.price = places.portion(own.price, own.cost - returned, own.cost) if own.cost else own.price
                own.cost -= returned
            if gain:
                price = places.portion(cash, returned, paid)
                gains.append(ClosedLot(own, lot.quantity, price, returned, paid, gain, ZERO, ZERO, ZERO))
        if cost_before:
            self.average = places.portion(self.average, self.cost, cost_before)
        return total, gains

    def open_lots(self) -> Iterator[OpenLot]:
        """Yield the lots, oldest first, each with its basis. Under average cost, the basis is a share of the pool."""
        if self.method != AVERAGE:
            yield from self.lots_by_age()
            return
        portion = self._places.portion
        quantity_left, cost, fees, carried_loss = self.quantity, self.cost, self.fees, self.carried_loss
        for lot in self.lots:
            pooled = OpenLot(*lot.as_tuple())
            pooled.price = self.average
            pooled.cost = portion(cost, lot.quantity, quantity_left)
            pooled.fees = portion(fees, lot.quantity, quantity_left)
            pooled.carried_loss = portion(carried_loss, lot.quantity, quantity_left)
            quantity_left, cost, fees = quantity_left - lot.quantity, cost - pooled.cost, fees - pooled.fees
            carried_loss -= pooled.carried_loss
            yield pooled

    def absorb(self, other: LotBook) -> None:
        """Add the lots of another book of the same side and method, after a symbol change."""
        self.add_lots(other.open_lots())
        self.rounding_remainder = max(self.rounding_remainder, other.rounding_remainder)

    def as_tuple(self) -> tuple[Any, ...]:
        totals = (self.quantity, self.cost, self.fees, self.carried_loss, self.rounding_remainder, self.average)
        return (self.method, totals, [lot.as_tuple() for lot in self.lots])

    @classmethod
    def from_tuple(cls, state: tuple[Any, ...]) -> LotBook:
        """Restore a book from `as_tuple()`."""
        method, totals, lots = state
        book = cls(method)
        book.quantity, book.cost, book.fees, book.carried_loss, book.rounding_remainder, book.average = totals
        book.lots.extend(OpenLot(*lot) for lot in lots)
        return book

    def _next_lot(self, lot_ids: Sequence[str]) -> OpenLot:
        if self.method in (LIFO, HIFO):
            return self.lots[-1]
        if lot_ids and self.method == SPECIFIC:
            for lot_id in lot_ids:
                for lot in self.lots:
                    if lot.lot_id == lot_id:
                        return lot
        return self.lots[0]

    def _close_units(
        self, lot: OpenLot, closed_quantity: Decimal, exit_value: Decimal, exit_fees: Decimal
    ) -> ClosedLot:
        """Remove `closed_quantity` with its entry value and fees from a lot and from the totals."""
        if self.method == AVERAGE:
            price = self.average
            value, fees, carried_loss = self._amounts_of(self, closed_quantity)
        else:
            price = lot.price
            value, fees, carried_loss = self._amounts_of(lot, closed_quantity)
            lot.cost -= value
            if fees:
                lot.fees -= fees
            if carried_loss:
                lot.carried_loss -= carried_loss
        lot.quantity -= closed_quantity
        self.quantity -= closed_quantity
        self.cost -= value
        if fees:
            self.fees -= fees
        if carried_loss:
            self.carried_loss -= carried_loss
        if not lot.quantity:
            self._drop(lot)
        if not self.quantity:
            self.average = ZERO
        return ClosedLot(
            lot=lot,
            quantity=closed_quantity,
            entry_price=price,
            entry_value=value,
            exit_value=exit_value,
            pnl=exit_value - value,
            entry_fees=fees,
            exit_fees=exit_fees,
            carried_loss=carried_loss,
        )

    def _amounts_of(self, pool: LotBook | OpenLot, closed_quantity: Decimal) -> tuple[Decimal, Decimal, Decimal]:
        """Return the entry value, fees and carried loss of `closed_quantity` units of a lot, or of all lots."""
        whole, portion = pool.quantity, self._places.portion
        if closed_quantity == whole:
            return pool.cost, pool.fees, pool.carried_loss
        return (
            portion(pool.cost, closed_quantity, whole),
            portion(pool.fees, closed_quantity, whole) if pool.fees else pool.fees,
            portion(pool.carried_loss, closed_quantity, whole) if pool.carried_loss else pool.carried_loss,
        )

    def _price_with_carried_loss(self, lot: OpenLot) -> Decimal:
        """The entry price per unit, including the carried loss."""
        if not (lot.carried_loss and lot.cost):
            return lot.price
        return lot.price + self._places.portion(lot.carried_loss, lot.price, lot.cost)

    def _drop(self, lot: OpenLot) -> None:
        lots = self.lots
        if lots[0] is lot:
            lots.popleft()
        elif lots[-1] is lot:
            lots.pop()
        else:
            lots.remove(lot)

    def _merge_empty(self) -> None:
        """Merge lots with quantity zero or with the wrong sign into the last remaining lot."""
        remaining_lots: deque[OpenLot] = deque()
        unmatched: list[OpenLot] = []
        for lot in self.lots:
            (remaining_lots if lot.quantity * self.quantity > 0 else unmatched).append(lot)
        replacement_lot = remaining_lots[-1]
        for lot in unmatched:
            replacement_lot.quantity += lot.quantity
            replacement_lot.cost += lot.cost
            replacement_lot.fees += lot.fees
            replacement_lot.carried_loss += lot.carried_loss
            lot.quantity = ZERO
        self.lots = remaining_lots


def _opened_ns_of(lot: OpenLot) -> int:
    return lot.opened_ns
