"""Orders as risk approved them, with what the venue reported on each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import ConfigDict
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, desc, select, true

from api.problems import NotFound
from api.resources import Db
from api.routers import PREFIX
from api.shapes import Amount, Shape, utc
from operators.orders import FINAL, OrderState, event_of, follow
from schemas.records import CANCELED, EXPIRED, NEW, REJECTED, TRADE, Execution, Order
from sinks.tables import executions, orders, record_of

PAGE_MAX = 500

router = APIRouter(prefix=f"{PREFIX}/orders", tags=["orders"])

Status = Literal["PENDING", "ACCEPTED", "PARTIALLY_FILLED", "FILLED", "CANCELLED", "EXPIRED", "REJECTED"]
Side = Literal["BUY", "SELL"]


class OrderStatus(Shape):
    """One order. PENDING: approved, the venue has not reported on it yet. `avg_fill_price` is None before a fill."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "order_id": "ord-123456",
                "symbol": "AAPL",
                "side": "BUY",
                "quantity": 100,
                "filled_quantity": 100,
                "avg_fill_price": 150.25,
                "status": "FILLED",
                "submitted_at": "2024-01-15T10:30:00Z",
                "filled_at": "2024-01-15T10:30:15Z",
                "order_type": "MARKET",
                "limit_price": None,
                "time_in_force": "DAY",
                "fees": 1.0,
                "cause_id": "prop-123456",
            }
        }
    )

    order_id: str
    symbol: str
    side: str
    quantity: Amount
    filled_quantity: Amount
    avg_fill_price: Amount | None
    status: str
    submitted_at: str
    filled_at: str | None  # of the last fill
    order_type: str
    limit_price: Amount | None
    time_in_force: str
    fees: Amount
    cause_id: str


class Report(Shape):
    """What the venue said about an order, in order of `seq`."""

    execution_id: str
    seq: int
    type: str
    quantity: Amount
    price: Amount
    fee: Amount
    leaves_quantity: Amount
    timestamp: str
    text: str


class Check(Shape):
    check: str
    found: str
    limit: str


class OrderDetail(OrderStatus):
    """With every risk check that it passed and every report of the venue."""

    checks: list[Check]
    executions: list[Report]


class OrderPage(Shape):
    """Newest first. `next` is the value of `before` for the next page, None on the last one."""

    orders: list[OrderStatus]
    next: int | None


# Which last report an order of each status has; None where it has none.
_last = (
    select(executions.c.exec_type, executions.c.leaves_quantity)
    .where(executions.c.order_id == orders.c.order_id)
    .order_by(desc(executions.c.seq))
    .limit(1)
    .lateral("last")
)
WHERE: dict[Status, ColumnElement[bool]] = {
    "PENDING": _last.c.exec_type.is_(None),
    "ACCEPTED": _last.c.exec_type == NEW,
    "PARTIALLY_FILLED": and_(_last.c.exec_type == TRADE, _last.c.leaves_quantity != 0),
    "FILLED": and_(_last.c.exec_type == TRADE, _last.c.leaves_quantity == 0),
    "CANCELLED": _last.c.exec_type == CANCELED,
    "EXPIRED": _last.c.exec_type == EXPIRED,
    "REJECTED": _last.c.exec_type == REJECTED,
}


@router.get("")
def get_orders(
    db: Db,
    symbol: str | None = None,
    side: Side | None = None,
    status: Status | None = None,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="only orders with a lower seq")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> OrderPage:
    """Orders, newest first, `limit` at a time."""
    query = select(orders).order_by(desc(orders.c.seq)).limit(limit + 1)
    if symbol is not None:
        query = query.where(orders.c.symbol == symbol)
    if side is not None:
        query = query.where(orders.c.side == side)
    if before is not None:
        query = query.where(orders.c.seq < before)
    if status is not None:
        query = query.select_from(orders.outerjoin(_last, true())).where(WHERE[status])
    found = [record_of(Order, row) for row in db.execute(query).mappings()]
    page = found[:limit]
    reports = _reports(db, [order.order_id for order in page])
    return OrderPage(
        orders=[OrderStatus(**_fields(order, reports[order.order_id])) for order in page],
        next=page[-1].seq if len(found) > limit else None,
    )


@router.get("/{order_id}")
def get_order(order_id: str, db: Db) -> OrderDetail:
    """One order with its risk checks and executions. 404 where there is none of that id."""
    row: RowMapping | None = db.execute(select(orders).where(orders.c.order_id == order_id)).mappings().first()
    if row is None:
        raise NotFound(f"There is no order {order_id}.")
    order = record_of(Order, row)
    reports = _reports(db, [order_id])[order_id]
    return OrderDetail(
        **_fields(order, reports),
        checks=[Check(**check._asdict()) for check in order.checks],
        executions=[_report(report) for report in reports],
    )


def _reports(db: Connection, order_ids: Sequence[str]) -> dict[str, list[Execution]]:
    found: dict[str, list[Execution]] = defaultdict(list)
    query = select(executions).where(executions.c.order_id.in_(order_ids)).order_by(executions.c.seq)
    for row in db.execute(query).mappings():
        report = record_of(Execution, row)
        found[report.order_id].append(report)
    return found


def state_of(reports: Sequence[Execution]) -> OrderState:
    """Where an approved order stands after these reports, in order of `seq`."""
    state = OrderState.APPROVED
    for report in reports:
        if state is OrderState.APPROVED:
            state = OrderState.SUBMITTED  # the venue reports on it, so it was sent
        if state in FINAL:
            break  # a second end of the same order changes nothing for a reader
        state = follow(state, event_of(report), order_id=report.order_id)
    return state


def _fields(order: Order, reports: Sequence[Execution]) -> dict[str, Any]:
    fills = [report for report in reports if report.exec_type == TRADE]
    filled = sum((fill.quantity for fill in fills), Decimal(0))
    paid = sum((fill.quantity * fill.price for fill in fills), Decimal(0))
    state = state_of(reports)
    return {
        "order_id": order.order_id,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.quantity,
        "filled_quantity": filled,
        "avg_fill_price": paid / filled if filled else None,
        "status": "PENDING" if state is OrderState.APPROVED else state.name,
        "submitted_at": utc(order.ts_ns),
        "filled_at": utc(fills[-1].filled_at_ns) if fills else None,
        "order_type": order.order_type,
        "limit_price": order.limit_price,
        "time_in_force": order.time_in_force,
        "fees": sum((report.fee for report in reports), Decimal(0)),
        "cause_id": order.cause_id,
    }


def _report(report: Execution) -> Report:
    return Report(
        execution_id=report.execution_id,
        seq=report.seq,
        type=report.exec_type,
        quantity=report.quantity,
        price=report.price,
        fee=report.fee,
        leaves_quantity=report.leaves_quantity,
        timestamp=utc(report.ts_ns),
        text=report.text,
    )
