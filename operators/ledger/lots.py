"""The lots of one symbol, matched by FIFO, LIFO, HIFO, average cost or specific identification.

The ledger and the tax books both use this module. It contains no cash, records or taxes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from operators.money import ZERO, divide, multiply, portion, quantize
from schemas.errors import BadInput, InvalidField

FIFO, LIFO, HIFO, AVERAGE, SPECIFIC = "fifo", "lifo", "hifo", "average", "specific"
METHODS = (FIFO, LIFO, HIFO, AVERAGE, SPECIFIC)
DUST = Decimal("0.000001")
"""A remainder too small to trade, left by the rounded ratio of a split. Only split symbols have dust."""


def split_quantity(quantity: Decimal, ratio: Decimal) -> Decimal:
    """Return the quantity after a split into `ratio` new units per old unit, as a whole number if within `DUST` of one.

    >>> split_quantity(Decimal(3), Decimal("0.333333333"))
    Decimal('1.000000000')
    """
    after = multiply(quantity, ratio)
    rounded = quantize(after.to_integral_value())
    return rounded if rounded and abs(after - rounded) <= DUST else after


class OpenLot:
    """The open part of one opening trade. Long lots have a positive `quantity` and `cost`, short lots negative ones.

    `cost` is the booked entry value of the open part (quantity * price * unit value, rounded once at booking). `fees`
    is the open part of the opening fee. `carried_loss` is the loss that a wash sale moved into this lot. A partial
    close reduces all three in proportion. The last part takes the rounding remainder, so the parts sum to the whole.
    After a wash sale, `holding_from_ns` is earlier than `opened_ns` by the holding time of the replaced lot.
    """

    __slots__ = (
        "carried_loss",
        "cost",
        "execution_id",
        "fees",
        "holding_from_ns",
        "is_replacement",
        "lot_id",
        "opened_ns",
        "price",
        "quantity",
    )

    def __init__(
        self,
        lot_id: str,
        opened_ns: int,
        quantity: Decimal,
        price: Decimal,
        cost: Decimal,
        fees: Decimal,
        execution_id: str,
        carried_loss: Decimal = ZERO,
        holding_from_ns: int | None = None,
        is_replacement: bool = False,
    ) -> None:
        self.lot_id = lot_id
        self.opened_ns = opened_ns
        self.quantity = quantity
        self.price = price
        self.cost = cost
        self.fees = fees
        self.execution_id = execution_id
        self.carried_loss = carried_loss
        self.holding_from_ns = opened_ns if holding_from_ns is None else holding_from_ns
        self.is_replacement = is_replacement  # whether these units have already replaced units sold at a loss

    def split_off(self, quantity: Decimal) -> OpenLot:
        """Move `quantity` (signed like the lot, smaller than it) with its exact shares of the amounts to a new lot."""
        total = self.quantity
        assert abs(quantity) < abs(total) and quantity * total > 0, f"{quantity} of {total}"
        cost = portion(self.cost, quantity, total)
        fees = portion(self.fees, quantity, total) if self.fees else ZERO
        carried_loss = portion(self.carried_loss, quantity, total) if self.carried_loss else ZERO
        self.quantity = total - quantity
        self.cost -= cost
        self.fees -= fees
        self.carried_loss -= carried_loss
        return OpenLot(
            self.lot_id,
            self.opened_ns,
            quantity,
            self.price,
            cost,
            fees,
            self.execution_id,
            carried_loss,
            self.holding_from_ns,
            self.is_replacement,
        )

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the state for a snapshot. `OpenLot(*lot.as_tuple())` restores the lot."""
        return (
            self.lot_id,
            self.opened_ns,
            self.quantity,
            self.price,
            self.cost,
            self.fees,
            self.execution_id,
            self.carried_loss,
            self.holding_from_ns,
            self.is_replacement,
        )


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

    Raises BadInput for an unknown method.
    """

    __slots__ = ("average", "carried_loss", "cost", "dust", "fees", "lots", "method", "quantity")

    def __init__(self, method: str = FIFO) -> None:
        if method not in METHODS:
            raise BadInput(f"lot method must be one of {', '.join(METHODS)}, found {method!r}")
        self.method = method
        self.lots: deque[OpenLot] = deque()  # oldest first; under hifo the lowest price first
        self.quantity = ZERO
        self.cost = ZERO
        self.fees = ZERO  # opening fees of the open lots
        self.carried_loss = ZERO
        self.dust = ZERO
        self.average = ZERO  # average entry price per open unit; under average cost only

    def close(
        self, quantity: Decimal, value: Decimal, fee: Decimal, lot_ids: Sequence[str] = ()
    ) -> tuple[list[ClosedLot], Decimal, Decimal, Decimal]:
        """Match a trade (signed quantity and value) with lots of the other side.

        Returns the matches, and the remaining quantity, value and fee, with which the caller opens a lot.
        """
        matches: list[ClosedLot] = []
        remaining, remaining_value, remaining_fee = quantity, value, fee
        while remaining and self.quantity and (self.quantity < 0) is (remaining > 0):
            lot = self._next_lot(lot_ids)
            lot_quantity = lot.quantity
            closed_quantity = lot_quantity if abs(lot_quantity) <= abs(remaining) + self.dust else -remaining
            remaining = remaining + closed_quantity
            if self.dust and abs(remaining) <= self.dust:
                remaining = ZERO
            # `value` and `quantity` have the opposite sign of the lot, so this share of the value has the lot's sign.
            if remaining:
                exit_value = portion(value, closed_quantity, quantity)
                exit_fee = portion(fee, -closed_quantity, quantity) if fee else fee
            else:
                exit_value, exit_fee = -remaining_value, remaining_fee
            remaining_value += exit_value
            remaining_fee -= exit_fee
            matches.append(self._close_part(lot, closed_quantity, exit_value, exit_fee))
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
            self.average += portion(lot.price - self.average, lot.quantity, self.quantity)
            lot.cost = lot.fees = lot.carried_loss = ZERO  # the totals contain them; `open_lots` allocates them
        self.insert(lot)

    def insert(self, lot: OpenLot) -> None:
        """Insert a lot at its position in the order of the method. The totals already include its amounts."""
        if self.method == HIFO:
            self.lots.insert(bisect_left(self.lots, price_with_carried_loss(lot), key=price_with_carried_loss), lot)
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
        """Split `quantity` (signed) off an open lot into a new lot, inserted before it. Returns the new lot."""
        new_lot = lot.split_off(quantity)
        self.lots.insert(self.lots.index(lot), new_lot)
        return new_lot

    def lots_by_age(self) -> list[OpenLot]:
        """The open lots, oldest first. Under average cost, their amounts are in the totals."""
        return sorted(self.lots, key=_opened_ns_of) if self.method == HIFO else list(self.lots)

    def split(self, ratio: Decimal) -> None:
        """Split into `ratio` new units per old unit. Cost, fees and holding times do not change.

        A total within `DUST` of a whole number becomes that number. Each lot gets its share, and the last lot takes the
        remainder. A lot without units is merged into another lot. Raises `InvalidField` if no units would remain.
        """
        if not self.quantity:
            return
        before, after = self.quantity, split_quantity(self.quantity, ratio)
        if abs(after) <= DUST:
            raise InvalidField(f"split ratio must leave at least {DUST} of {before} units, found {ratio}")
        self.dust = DUST
        remainder = after
        for lot in self.lots:
            lot.quantity = portion(after, lot.quantity, before)
            remainder -= lot.quantity
            lot.price = divide(lot.price, ratio)
        self.average = divide(self.average, ratio)
        self.lots[-1].quantity += remainder
        self.quantity = after
        self._merge_empty()

    def open_lots(self) -> Iterator[OpenLot]:
        """Yield the lots, oldest first, each with its basis. Under average cost, the basis is a share of the pool."""
        if self.method != AVERAGE:
            yield from self.lots_by_age()
            return
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
        for lot in other.open_lots():
            self.open(lot)
        self.dust = max(self.dust, other.dust)
        if self.method != HIFO:
            self.lots = deque(sorted(self.lots, key=_opened_ns_of))

    def as_tuple(self) -> tuple[Any, ...]:
        totals = (self.quantity, self.cost, self.fees, self.carried_loss, self.dust, self.average)
        return (self.method, totals, [lot.as_tuple() for lot in self.lots])

    @classmethod
    def from_tuple(cls, state: tuple[Any, ...]) -> LotBook:
        """Restore a book from `as_tuple()`."""
        method, totals, lots = state
        book = cls(method)
        book.quantity, book.cost, book.fees, book.carried_loss, book.dust, book.average = totals
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

    def _close_part(self, lot: OpenLot, closed_quantity: Decimal, exit_value: Decimal, exit_fees: Decimal) -> ClosedLot:
        """Remove `closed_quantity` with its entry value and fees from a lot and from the totals."""
        if self.method == AVERAGE:
            price = self.average
            value, fees, carried_loss = _take_shares(
                self.cost, self.fees, self.carried_loss, closed_quantity, self.quantity
            )
        else:
            price = lot.price
            value, fees, carried_loss = _take_shares(
                lot.cost, lot.fees, lot.carried_loss, closed_quantity, lot.quantity
            )
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
            lot, closed_quantity, price, value, exit_value, exit_value - value, fees, exit_fees, carried_loss
        )

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


def _take_shares(
    value: Decimal, fees: Decimal, carried_loss: Decimal, closed_quantity: Decimal, total_quantity: Decimal
) -> tuple[Decimal, Decimal, Decimal]:
    if closed_quantity == total_quantity:
        return value, fees, carried_loss
    return (
        portion(value, closed_quantity, total_quantity),
        portion(fees, closed_quantity, total_quantity) if fees else fees,
        portion(carried_loss, closed_quantity, total_quantity) if carried_loss else carried_loss,
    )


def _opened_ns_of(lot: OpenLot) -> int:
    return lot.opened_ns


def price_with_carried_loss(lot: OpenLot) -> Decimal:
    """The entry price per unit, including the carried loss."""
    return lot.price + portion(lot.carried_loss, lot.price, lot.cost) if lot.carried_loss and lot.cost else lot.price
