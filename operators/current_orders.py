"""The terms of open orders as they are now, which differ from the approved terms without a report of their own.

A fill reduces the other orders of its OCO group. The exits of an entry follow its amended quantity, and close what a
partly filled entry has bought. A split converts quantities and prices. The simulated venue and the gateway apply these
rules to their books; risk and the result tables derive the same terms here, from approvals, reports and splits.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from operators.money import ZERO
from operators.order_split import split_lots, split_order
from schemas.records import NEW, REPLACED, TRADE, Execution, OrderTerms


class CurrentOrder(NamedTuple):
    """An order that has not ended.

    terms       its terms now; the quantity includes what has traded
    filled      units that have traded, those of the orders that it has replaced included
    held        units that wait for further fills of the parent
    is_working  whether the venue or the gateway has accepted it
    replaces    id of the order that it amends, or ""
    """

    order_id: str
    cause_id: str
    terms: OrderTerms
    filled: Decimal = ZERO
    held: Decimal = ZERO
    is_working: bool = False
    replaces: str = ""

    @property
    def remaining(self) -> Decimal:
        return self.terms.quantity - self.filled

    def with_quantity(self, quantity: Decimal) -> CurrentOrder:
        return self._replace(terms=self.terms._replace(quantity=quantity))

    def as_working(self, held: Decimal) -> CurrentOrder:
        """Return the order after its acceptance. Every order has one, and `_replace` takes three times as long."""
        return CurrentOrder(
            order_id=self.order_id,
            cause_id=self.cause_id,
            terms=self.terms,
            filled=self.filled,
            held=held,
            is_working=True,
            replaces=self.replaces,
        )

    def with_fill(self, report: Execution) -> CurrentOrder:
        """Return the order after a fill that the venue reported."""
        terms, quantity = self.terms, report.cum_quantity + report.leaves_quantity
        if terms.quantity != quantity:
            terms = terms._replace(quantity=quantity)
        return CurrentOrder(
            order_id=self.order_id,
            cause_id=self.cause_id,
            terms=terms,
            filled=report.cum_quantity,
            held=self.held,
            is_working=True,
            replaces=self.replaces,
        )


class CurrentOrders:
    """The open orders by id. Call `split` before the reports of the time slice in which a split takes effect."""

    def __init__(self) -> None:
        self._orders: dict[str, CurrentOrder] = {}
        self._ids_of_group: dict[str, dict[str, None]] = {}
        self._ids_of_parent: dict[str, dict[str, None]] = {}  # cause id of the parent -> orders
        self._id_of_cause: dict[str, str] = {}
        self._successors: dict[str, list[str]] = {}  # order -> the orders that are to replace it, one after the other

    def get(self, order_id: str) -> CurrentOrder | None:
        """Return an open order, or None."""
        return self._orders.get(order_id)

    def is_replaced(self, order_id: str) -> bool:
        """Whether an open order has an amendment that the venue has not confirmed yet."""
        return order_id in self._successors

    def add(self, order: CurrentOrder) -> None:
        """Add an approved order."""
        self._index(order)
        if order.replaces:
            self._successors.setdefault(order.replaces, []).append(order.order_id)

    def _index(self, order: CurrentOrder) -> None:
        terms, order_id = order.terms, order.order_id
        self._orders[order_id] = order
        self._id_of_cause[order.cause_id] = order_id
        if terms.group_id:
            self._ids_of_group.setdefault(terms.group_id, {})[order_id] = None
        if terms.parent_id:
            self._ids_of_parent.setdefault(terms.parent_id, {})[order_id] = None

    def fold_execution(self, report: Execution) -> list[CurrentOrder]:
        """Apply a report. Return the orders that it changes; its own order too, with its last terms if it has ended."""
        order = self._orders.get(report.order_id)
        if order is None:
            return []
        if report.exec_type == NEW:
            return [self.accept(order.order_id)]
        if report.exec_type == TRADE:
            return self._fill(order, report)
        self._remove(order)
        children = self._held_children(order)
        successors = [one for one in self._successors.pop(order.order_id, ()) if one in self._orders]
        if report.exec_type == REPLACED and successors:
            if len(successors) > 1:
                self._successors[successors[0]] = successors[1:]
            return [order, *self._hand_over(order, self._orders[successors[0]], children)]
        # What the parent has filled remains. A child of a parent without a fill ends, with a report of its own.
        released = [one for one in children if one.held < one.remaining]
        return [order, *(self._store(_without_held(one)) for one in released)]

    def split(self, symbol: str, ratio: Decimal, lot_size: Decimal) -> list[CurrentOrder]:
        """Convert the orders of a symbol to new shares. Return them."""
        changed = []
        for order in [one for one in self._orders.values() if one.terms.symbol == symbol]:
            # An amendment below the filled quantity is open until the venue or the broker rejects it.
            terms, filled = split_order(order.terms, min(order.filled, order.terms.quantity), ratio, lot_size)
            held = split_lots(order.held, ratio, lot_size)
            changed.append(self._store(order._replace(terms=terms, filled=filled, held=held)))
        return changed

    def accept(self, order_id: str) -> CurrentOrder:
        """Note that the venue or the gateway has accepted an open order. Return it."""
        order = self._orders[order_id]
        held = order.held
        if order.terms.parent_id and not order.replaces:
            parent = self._orders.get(self._id_of_cause.get(order.terms.parent_id, ""))
            held = ZERO if parent is None else max(ZERO, order.remaining - parent.filled)
        return self._store(order.as_working(held))

    def _fill(self, order: CurrentOrder, report: Execution) -> list[CurrentOrder]:
        leaves, traded = report.leaves_quantity, report.quantity
        order = order.with_fill(report)
        if leaves:
            self._store(order)
        else:
            self._remove(order)
        changed = [order]
        if order.terms.group_id and leaves:
            for other in self._orders_of(self._ids_of_group, order.terms.group_id):
                is_reduced = other.is_working and other.terms.side == order.terms.side and other.remaining > traded
                if is_reduced and other.order_id != order.order_id:
                    other = other.with_quantity(other.terms.quantity - traded)
                    changed.append(self._store(other._replace(held=min(other.held, other.remaining))))
        for child in self._held_children(order):
            held = max(ZERO, child.held - traded) if leaves else ZERO
            changed.append(self._store(child._replace(held=held)))
        return changed

    def _hand_over(
        self, replaced: CurrentOrder, successor: CurrentOrder, children: list[CurrentOrder]
    ) -> list[CurrentOrder]:
        """Let an amended order continue with the fills, the parent and the children of the one that it replaces."""
        terms = successor.terms._replace(parent_id=replaced.terms.parent_id)
        successor = successor._replace(terms=terms, filled=replaced.filled)
        if replaced.held:
            free = replaced.remaining - replaced.held
            successor = successor._replace(held=min(successor.remaining, max(ZERO, successor.remaining - free)))
        self._index(successor)
        changed = [successor]
        for child in children:
            self._ids_of_parent.get(replaced.cause_id, {}).pop(child.order_id, None)
            child = child._replace(terms=child.terms._replace(parent_id=successor.cause_id))
            if child.held == replaced.remaining:
                # An exit of all of the entry, such as those of a bracket, follows its quantity.
                added = successor.terms.quantity - replaced.terms.quantity
                child = child.with_quantity(child.terms.quantity + added)._replace(held=successor.remaining)
            self._index(child)
            changed.append(child)
        return changed

    def _store(self, order: CurrentOrder) -> CurrentOrder:
        """Update an open order, whose parent and group are the same. Return it."""
        self._orders[order.order_id] = order
        return order

    def _held_children(self, parent: CurrentOrder) -> list[CurrentOrder]:
        return [one for one in self._orders_of(self._ids_of_parent, parent.cause_id) if one.held]

    def _orders_of(self, ids_of: dict[str, dict[str, None]], key: str) -> list[CurrentOrder]:
        return [self._orders[order_id] for order_id in ids_of.get(key, ())]

    def _remove(self, order: CurrentOrder) -> None:
        order_id, terms = order.order_id, order.terms
        del self._orders[order_id]
        self._id_of_cause.pop(order.cause_id, None)
        waiting = self._successors.get(order.replaces, [])
        if order_id in waiting:
            waiting.remove(order_id)
        if not waiting:
            self._successors.pop(order.replaces, None)
        for ids_of, key in ((self._ids_of_group, terms.group_id), (self._ids_of_parent, terms.parent_id)):
            ids = ids_of.get(key, {})
            ids.pop(order_id, None)
            if key and not ids:
                ids_of.pop(key, None)

    def snapshot(self) -> list[tuple[Any, ...]]:
        """Return the open orders as plain tuples."""
        return [(*one[:2], tuple(one.terms), *one[3:]) for one in self._orders.values()]

    def restore(self, snapshot: list[tuple[Any, ...]]) -> None:
        for index in (self._orders, self._ids_of_group, self._ids_of_parent, self._id_of_cause, self._successors):
            index.clear()
        for order_id, cause_id, terms, *rest in snapshot:
            self.add(CurrentOrder(order_id, cause_id, OrderTerms(*terms), *rest))


def _without_held(child: CurrentOrder) -> CurrentOrder:
    """Return a child without the units that wait for its parent, which has ended."""
    return child.with_quantity(child.terms.quantity - child.held)._replace(held=ZERO)
