"""The responses of the API that describe orders: a page of orders, one order, its checks and its reports."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from api.json_types import Amount, ApiModel, utc
from api.order_progress import WaitingFor
from schemas.records import Execution


class OrderStatus(ApiModel):
    """One order. PENDING: the venue has not reported on it yet. `avg_fill_price` is null before the first fill.
    `reason` explains why an order closed without a complete fill. `waiting_for` names what an open order waits for,
    other than its price: a service, the market, another order or the next bar. It is null for a closed order.

    When one order of a `group_id` trades, the others of the group are cancelled. An order with a `parent_id` (the
    `cause_id` of another order) waits until that order fills. `replaces` is the id of the order that a changed order
    replaced. The stop of an order with `emulated_stop` is not at the broker: it works only while the platform runs.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "order_id": "ord-123456",
                "symbol": "AAPL",
                "side": "BUY",
                "quantity": 100,
                "filled_quantity": 100,
                "remaining_quantity": 0,
                "avg_fill_price": 150.25,
                "status": "FILLED",
                "submitted_at": "2024-01-15T10:30:00Z",
                "filled_at": "2024-01-15T10:30:15Z",
                "order_type": "MARKET",
                "limit_price": None,
                "stop_price": None,
                "trail_amount": None,
                "trail_percent": None,
                "time_in_force": "DAY",
                "expires_at": None,
                "reduce_only": False,
                "group_id": "",
                "parent_id": "",
                "replaces": "",
                "fees": 1.0,
                "cause_id": "prop-123456",
                "reason": None,
                "waiting_for": None,
                "emulated_stop": False,
                "strategy": "pairs",
            }
        }
    )

    order_id: str
    symbol: str
    side: str
    quantity: Amount
    filled_quantity: Amount
    remaining_quantity: Amount  # what can still trade; of an open order, quantity and prices are the present ones
    avg_fill_price: Amount | None
    status: str
    submitted_at: str
    filled_at: str | None  # of the last fill
    order_type: str
    limit_price: Amount | None
    stop_price: Amount | None = None
    trail_amount: Amount | None = None
    trail_percent: Amount | None = None
    time_in_force: str
    expires_at: str | None = None  # of a GTD order
    reduce_only: bool = False
    group_id: str = ""
    parent_id: str = ""
    replaces: str = ""
    fees: Amount
    cause_id: str
    reason: str | None
    waiting_for: WaitingFor | None = None
    emulated_stop: bool = False
    strategy: str | None = Field(default=None, description="strategy behind the order; null for a manual order")


class ExecutionReport(ApiModel):
    """One report of the venue on an order."""

    execution_id: str
    seq: int
    type: str
    quantity: Amount
    price: Amount
    fee: Amount
    leaves_quantity: Amount
    timestamp: str
    text: str


class OrderCheck(ApiModel):
    check: str
    found: str
    limit: str


class OrderDetail(OrderStatus):
    """One order with the risk checks that it passed and the reports of the venue.

    A manual order is available from its submission. If risk rejects it, its status is REFUSED and `checks` holds only
    the check that rejected it.
    """

    checks: list[OrderCheck]
    executions: list[ExecutionReport]
    cancel_asked_at: str | None


class OrderPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    orders: list[OrderStatus]
    next: int | None


def report_fields(report: Execution) -> dict[str, Any]:
    """The fields of an `ExecutionReport`."""
    same = ("execution_id", "seq", "quantity", "price", "fee", "leaves_quantity", "text")
    unchanged = {name: getattr(report, name) for name in same}
    return {**unchanged, "type": report.exec_type, "timestamp": utc(report.ts_ns)}
