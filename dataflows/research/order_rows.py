"""The orders of a run as they are at its end: with present terms, filled quantities in present units, and outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from operators.current_orders import CurrentOrder, CurrentOrders
from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.ledger.events import share_ratio
from operators.ledger.split_ratio import split_quantity
from operators.money import ZERO
from operators.reference_data import ReferenceData
from schemas.records import (
    CLS,
    DAY,
    FOK,
    IOC,
    OPG,
    TRADE,
    CorporateAction,
    Execution,
    Order,
    OrderTerms,
    Record,
    TimeInForce,
)

_OPEN_TEXTS: dict[TimeInForce, str] = {
    IOC: "IOC: the bars end before it can trade",
    FOK: "FOK: the bars end before it can trade",
    OPG: "OPG: the bars end before the next open",
    CLS: "CLS: the bars end before the close",
    DAY: "day order: the bars end before the session does",
}
"""Reasons of orders that are open because the bars end before they can trade or expire, by time in force."""


class OrderRows:
    """Collects the approved orders and their reports.

    orders  the approved orders by id, in the order of approval
    """

    def __init__(self, instruments: Instruments = NO_INSTRUMENTS) -> None:
        self._instruments = instruments
        self.orders: dict[str, Order] = {}
        self._current_orders = CurrentOrders()
        self._present_terms: dict[str, OrderTerms] = {}  # where they differ from the approved terms
        self._filled: dict[str, Decimal] = {}  # own fills, without those of replaced orders
        self._reference = ReferenceData()

    def apply_splits(self, records: Sequence[Record]) -> None:
        """Convert the open orders if a split takes effect in this time slice. Call it before its other records."""
        for action in self._reference.pop_due(records):
            if not isinstance(action, CorporateAction) or (ratio := share_ratio(action)) == 1:
                continue
            for order in self._current_orders.split(action.symbol, ratio, self._instruments.lot_size_of(action.symbol)):
                self._store(order)
                if order.order_id in self._filled:
                    self._filled[order.order_id] = split_quantity(self._filled[order.order_id], ratio)

    def add_order(self, order: Order) -> None:
        self.orders[order.order_id] = order
        replaced = self._current_orders.get(order.replaces) if order.replaces else None
        filled = ZERO if replaced is None else replaced.filled
        self._current_orders.add(
            CurrentOrder(order.order_id, order.cause_id, order.terms, filled, replaces=order.replaces)
        )

    def add_report(self, report: Execution) -> None:
        if report.exec_type == TRADE:
            self._filled[report.order_id] = self._filled.get(report.order_id, ZERO) + report.quantity
        for order in self._current_orders.fold_execution(report):
            self._store(order)

    def present_terms(self, order_id: str) -> OrderTerms:
        """Return the terms of an order as they are now, or as they were when it ended."""
        return self._present_terms.get(order_id) or self.orders[order_id].terms

    def filled(self, order_id: str) -> Decimal:
        """Return what the order itself has traded, in the units of its present terms."""
        return self._filled.get(order_id, ZERO)

    def open_reasons(self) -> dict[str, str]:
        """Return why orders are open at the end of a backtest, by id: their time lies after the last bar.

        Orders that are good till cancelled or till a date have no such reason.
        """
        return {
            order_id: text
            for order_id, order in self.orders.items()
            if self._current_orders.get(order_id) is not None
            and (text := _OPEN_TEXTS.get(order.terms.time_in_force, ""))
        }

    def _store(self, order: CurrentOrder) -> None:
        if order.order_id in self.orders and order.terms != self.orders[order.order_id].terms:
            self._present_terms[order.order_id] = order.terms
