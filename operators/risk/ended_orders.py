"""How the last orders ended. A command for an ended order is refused with the way in which the order ended."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, NamedTuple

from operators.risk.verdict import Refusal
from schemas.records import CANCELED, EXPIRED, REJECTED, REPLACED, TRADE, Execution, Side

ENDED_MAX = 1000
"""Number of ended orders that are retained."""
_OUTCOMES = {TRADE: "filled", CANCELED: "cancelled", EXPIRED: "expired", REJECTED: "rejected", REPLACED: "replaced"}


class EndedOrder(NamedTuple):
    """An ended order. `successor` is the id of the order that has replaced it, or ""."""

    symbol: str
    side: Side
    outcome: str
    successor: str


class EndedOrders:
    """The last `ENDED_MAX` ended orders, and the amendments that the venue has not confirmed yet."""

    def __init__(self) -> None:
        self._ended: dict[str, EndedOrder] = {}
        self._successors: dict[str, str] = {}  # open order -> the order that is to replace it

    def record_amendment(self, order_id: str, successor: str) -> None:
        self._successors[order_id] = successor

    def successor(self, order_id: str) -> str:
        """Return the id of the order that is to replace this open order, or ""."""
        return self._successors.get(order_id, "")

    def fold_execution(self, report: Execution) -> None:
        """Record the end of an order."""
        outcome = _OUTCOMES.get(report.exec_type)
        if outcome is None or report.leaves_quantity:
            return
        successor = self._successors.pop(report.order_id, "")
        if report.exec_type != REPLACED:
            successor = ""
        self._ended[report.order_id] = EndedOrder(report.symbol, report.side, outcome, successor)
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def open_order_of(self, order_id: str, open_orders: Container[str]) -> str | None:
        """Return the open order that `order_id` names: itself, or its successor. None if it has ended."""
        while order_id not in open_orders:
            ended = self._ended.get(order_id)
            if ended is None or not ended.successor:
                return None
            order_id = ended.successor
        return order_id

    def latest(self, order_id: str, open_orders: Container[str]) -> str | None:
        """As `open_order_of`, but an amendment that the venue has not confirmed yet counts as a successor."""
        open_id = self.open_order_of(order_id, open_orders)
        while open_id is not None and self._successors.get(open_id, "") in open_orders:
            open_id = self._successors[open_id]
        return open_id

    def refusal(self, order_id: str) -> tuple[EndedOrder, Refusal] | None:
        """Return an ended order and the refusal of a command for it. None if the order is unknown."""
        ended = self._ended.get(order_id)
        if ended is None:
            return None
        last_id, last = order_id, ended
        while last.successor in self._ended:
            last_id, last = last.successor, self._ended[last.successor]
        found = last.outcome if last_id == order_id else f"replaced by {last_id}, {last.outcome}"
        message = f"open_order: {last.symbol} order {order_id} has already ended: {found}"
        return last, Refusal("open_order", found, "an open order", message)

    def snapshot(self) -> Any:
        return [(order_id, *ended) for order_id, ended in self._ended.items()], list(self._successors.items())

    def restore(self, snapshot: Any) -> None:
        ended, successors = snapshot
        self._ended = {order_id: EndedOrder(*values) for order_id, *values in ended}
        self._successors = dict(successors)
