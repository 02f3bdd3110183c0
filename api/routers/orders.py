"""Orders with their status and execution reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict
from sqlalchemy import ColumnElement, Connection, and_, desc, or_, select, true

from api.json_types import Amount, ApiModel, utc
from api.pagination import Before, Limit, newest_page
from api.problems import NotFound, problem_responses
from api.resources import Db, PrimaryDb
from api.routers import PREFIX
from api.submissions import find_command
from operators.manual_orders import (
    MANUAL,
    SUBMIT_ORDER,
    InvalidTerms,
    command_id_of,
    is_manual,
    order_id_of,
    parse_proposal,
)
from operators.order_lifecycle import FINAL_STATES, OrderState, event_from_report, next_state
from operators.risk.commands import AMEND_ORDER, amend_proposal
from schemas.errors import BadInput
from schemas.records import (
    CANCELED,
    EXPIRED,
    NEW,
    REJECTED,
    REPLACED,
    TRADE,
    Command,
    Execution,
    Order,
    OrderProposal,
    OrderRefusal,
)
from sinks.tables import commands, executions, order_cancels, order_refusals, orders, record_of

router = APIRouter(prefix=f"{PREFIX}/orders", tags=["orders"])

Status = Literal["PENDING", "ACCEPTED", "PARTIALLY_FILLED", "FILLED", "CANCELLED", "REPLACED", "EXPIRED", "REJECTED"]
FINISHED = frozenset({"FILLED", "CANCELLED", "REPLACED", "EXPIRED", "REJECTED"})
Side = Literal["BUY", "SELL"]


class OrderStatus(ApiModel):
    """One order. PENDING: the venue has not reported on it yet. `avg_fill_price` is null before the first fill.
    `reason` explains why an order closed without a complete fill.

    When one order of a `group_id` trades, the others of the group are cancelled. An order with a `parent_id` (the
    `cause_id` of another order) waits until that order fills. `replaces` is the id of the order that a changed order
    replaced.
    """

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


# The last report of an order defines its status.
_last_report = (
    select(executions.c.exec_type, executions.c.leaves_quantity)
    .where(executions.c.order_id == orders.c.order_id)
    .order_by(desc(executions.c.seq))
    .limit(1)
    .lateral("last")
)
STATUS_CONDITIONS: dict[Status, ColumnElement[bool]] = {
    "PENDING": _last_report.c.exec_type.is_(None),
    "ACCEPTED": _last_report.c.exec_type == NEW,
    "PARTIALLY_FILLED": and_(_last_report.c.exec_type == TRADE, _last_report.c.leaves_quantity != 0),
    "FILLED": and_(_last_report.c.exec_type == TRADE, _last_report.c.leaves_quantity == 0),
    "CANCELLED": _last_report.c.exec_type == CANCELED,
    "REPLACED": _last_report.c.exec_type == REPLACED,
    "EXPIRED": _last_report.c.exec_type == EXPIRED,
    "REJECTED": _last_report.c.exec_type == REJECTED,
}


@router.get("")
def get_orders(
    db: Db,
    symbol: str | None = None,
    side: Side | None = None,
    status: Status | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> OrderPage:
    """Orders, newest first, `limit` per page."""
    query = select(orders)
    if status is not None:
        query = query.select_from(orders.outerjoin(_last_report, true())).where(STATUS_CONDITIONS[status])
    rows, next_before = newest_page(db, query, orders, before=before, limit=limit, symbol=symbol, side=side)
    page = [record_of(Order, row) for row in rows]
    reports = _reports(db, [order.order_id for order in page])
    requested_ns = _requested_at(db, page)
    return OrderPage(
        orders=[OrderStatus(**_fields(order, reports[order.order_id], requested_ns)) for order in page],
        next=next_before,
    )


@router.get("/{order_id}", responses=problem_responses(404))
def get_order(order_id: str, db: PrimaryDb) -> OrderDetail:
    """One order with its risk checks and executions, by the id of the order or of its command. 404 if unknown."""
    match = find_order(db, order_id)
    if match is None:
        return _undecided(db, order_id)
    order, _ = match
    reports = _reports(db, [order.order_id])[order.order_id]
    cancel = select(order_cancels.c.ts_ns).where(order_cancels.c.order_id == order.order_id)
    cancelled_ns = db.execute(cancel.order_by(order_cancels.c.seq).limit(1)).scalar()
    return OrderDetail(
        **_fields(order, reports, _requested_at(db, [order])),
        checks=[OrderCheck(**check._asdict()) for check in order.checks],
        executions=[ExecutionReport(**report_fields(report)) for report in reports],
        cancel_asked_at=None if cancelled_ns is None else utc(cancelled_ns),
    )


def find_order(db: Connection, requested_id: str) -> tuple[Order, str] | None:
    """Returns an order and its status, by the id of the order or of its cause; None if there is no such order."""
    query = select(orders).where(or_(orders.c.order_id == requested_id, orders.c.cause_id == requested_id)).limit(1)
    row = db.execute(query).mappings().first()
    if row is None:
        return None
    order = record_of(Order, row)
    return order, _status(state_of(_reports(db, [order.order_id])[order.order_id]))


def _undecided(db: Connection, requested_id: str) -> OrderDetail:
    """Returns a manual order that risk rejected or has not decided on yet. Raises NotFound."""
    command_id = command_id_of(requested_id) or requested_id
    command = find_command(db, command_id)
    if command is None or command.kind not in (SUBMIT_ORDER, AMEND_ORDER):
        raise NotFound(f"Order {requested_id} does not exist.")
    query = select(order_refusals).where(order_refusals.c.cause_id == command_id)
    row = db.execute(query).mappings().first()
    refusal = None if row is None else record_of(OrderRefusal, row)
    proposal = _requested_order(db, command)
    complete = proposal if isinstance(proposal, OrderProposal) else None
    return OrderDetail(
        order_id=order_id_of(command_id),
        symbol=proposal.symbol,
        side=proposal.side,
        quantity=proposal.quantity,
        filled_quantity=Decimal(0),
        avg_fill_price=None,
        status="PENDING" if refusal is None else "REFUSED",
        submitted_at=utc(command.ts_ns),
        filled_at=None,
        **({"order_type": "", "limit_price": None, "time_in_force": ""} if complete is None else _terms(complete)),
        replaces=command.arguments.get("order_id", "") if command.kind == AMEND_ORDER else "",
        fees=Decimal(0),
        cause_id=command_id,
        reason=None if refusal is None else refusal.message,
        checks=[] if refusal is None else [OrderCheck(check=refusal.check, found=refusal.found, limit=refusal.limit)],
        executions=[],
        cancel_asked_at=None,
    )


def _requested_order(db: Connection, command: Command) -> OrderProposal | InvalidTerms:
    """Returns the order that a command requests. A change requests the existing order with new terms."""
    if command.kind == SUBMIT_ORDER:
        return parse_proposal(command, command.ts_ns)
    match = find_order(db, command.arguments.get("order_id", ""))
    if match is None:
        raise NotFound(f"Order {order_id_of(command.command_id)} does not exist.")
    order = match[0]
    terms = (order.symbol, order.side, order.quantity, order.order_type, order.limit_price, order.time_in_force)
    optional_terms = {name: getattr(order, name) for name in OrderProposal._fields if name in Order._field_defaults}
    current = OrderProposal(0, command.ts_ns, command.command_id, *terms, MANUAL, Decimal(0), "", [], **optional_terms)
    try:
        return amend_proposal(command, current)
    except BadInput as error:
        return InvalidTerms(order.symbol, order.side, order.quantity, str(error), "an order")


def _requested_at(db: Connection, approved: Sequence[Order]) -> dict[str, int]:
    """Returns the submission times (ns) of the manual orders among `approved`, by cause."""
    causes = [order.cause_id for order in approved if is_manual(order.order_id)]
    if not causes:
        return {}
    query = select(commands.c.command_id, commands.c.ts_ns).where(commands.c.command_id.in_(causes))
    return {row.command_id: row.ts_ns for row in db.execute(query)}


def _reports(db: Connection, order_ids: Sequence[str]) -> dict[str, list[Execution]]:
    by_order: dict[str, list[Execution]] = defaultdict(list)
    query = select(executions).where(executions.c.order_id.in_(order_ids)).order_by(executions.c.seq)
    for row in db.execute(query).mappings():
        report = record_of(Execution, row)
        by_order[report.order_id].append(report)
    return by_order


def state_of(reports: Sequence[Execution]) -> OrderState:
    """Returns the state of an approved order after these reports. `reports` are in order of `seq`."""
    state = OrderState.APPROVED
    for report in reports:
        if state is OrderState.APPROVED:
            state = OrderState.SUBMITTED  # a report proves that the order was sent
        if state in FINAL_STATES:
            break  # a second final report of the same order changes nothing
        state = next_state(state, event_from_report(report), order_id=report.order_id)
    return state


def _status(state: OrderState) -> str:
    return "PENDING" if state is OrderState.APPROVED else state.name


def _fields(order: Order, reports: Sequence[Execution], requested_ns: Mapping[str, int]) -> dict[str, Any]:
    fills = [report for report in reports if report.exec_type == TRADE]
    filled = sum((fill.quantity for fill in fills), Decimal(0))
    notional = sum((fill.quantity * fill.price for fill in fills), Decimal(0))
    status = _status(state_of(reports))
    return {
        "order_id": order.order_id,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.quantity,
        "filled_quantity": filled,
        "avg_fill_price": notional / filled if filled else None,
        "status": status,
        "submitted_at": utc(requested_ns.get(order.cause_id, order.ts_ns)),
        "filled_at": utc(fills[-1].filled_at_ns) if fills else None,
        **_terms(order),
        "replaces": order.replaces,
        "fees": sum((report.fee for report in reports), Decimal(0)),
        "cause_id": order.cause_id,
        "reason": (reports[-1].text or None) if status in FINISHED - {"FILLED"} else None,
    }


def _terms(order: Order | OrderProposal) -> dict[str, Any]:
    names = ("order_type", "limit_price", "stop_price", "trail_amount", "trail_percent", "time_in_force")
    expires_at = None if order.expires_ns is None else utc(order.expires_ns)
    terms = {name: getattr(order, name) for name in (*names, "reduce_only", "group_id", "parent_id")}
    return {**terms, "expires_at": expires_at}


def report_fields(report: Execution) -> dict[str, Any]:
    """The fields of an `ExecutionReport`."""
    same = ("execution_id", "seq", "quantity", "price", "fee", "leaves_quantity", "text")
    unchanged = {name: getattr(report, name) for name in same}
    return {**unchanged, "type": report.exec_type, "timestamp": utc(report.ts_ns)}
