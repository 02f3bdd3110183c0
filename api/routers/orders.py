"""Orders with their status and execution reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from sqlalchemy import ColumnElement, Connection, and_, desc, or_, select, true

from api.current_orders import current_orders
from api.emulated_stops import emulated_stops
from api.json_types import TextLine, utc
from api.order_progress import WaitingFor, read_progress, sent_to_broker, waiting_for_risk, waiting_for_venue
from api.order_responses import ExecutionReport, OrderCheck, OrderDetail, OrderPage, OrderStatus, report_fields
from api.pagination import Before, Limit, newest_page
from api.problems import NotFound, problem_responses
from api.resources import Db, PrimaryDb, Resources, ResourcesDep
from api.routers import PREFIX
from api.strategies import is_order_of, strategies_of
from api.submissions import find_command
from operators.current_orders import CurrentOrder
from operators.manual_orders import InvalidTerms, command_id_of, is_manual, parse_proposal, requested_order_id
from operators.order_lifecycle import FINAL_STATES, OrderState, state_of
from operators.risk.commands import amend_terms
from schemas.errors import BadInput
from schemas.records import (
    AMEND_ORDER,
    CANCELED,
    EXPIRED,
    NEW,
    REJECTED,
    REPLACED,
    SUBMIT_ORDER,
    TRADE,
    Command,
    Execution,
    Order,
    OrderRefusal,
    OrderTerms,
    Side,
)
from sinks.record_tables import record_of
from sinks.tables import commands, executions, order_cancels, order_refusals, orders

router = APIRouter(prefix=f"{PREFIX}/orders", tags=["orders"])

Status = Literal["PENDING", "ACCEPTED", "PARTIALLY_FILLED", "FILLED", "CANCELLED", "REPLACED", "EXPIRED", "REJECTED"]
FINISHED = frozenset({"FILLED", "CANCELLED", "REPLACED", "EXPIRED", "REJECTED"})


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
    resources: ResourcesDep,
    symbol: str | None = None,
    side: Side | None = None,
    status: Status | None = None,
    strategy: Annotated[TextLine | None, Query(description="strategy behind the order")] = None,
    before: Before = None,
    limit: Limit = 100,
) -> OrderPage:
    """Orders, newest first, `limit` per page."""
    query = select(orders)
    if status is not None:
        query = query.select_from(orders.outerjoin(_last_report, true())).where(STATUS_CONDITIONS[status])
    if strategy is not None:
        query = query.where(is_order_of(strategy))
    rows, next_before = newest_page(db, query, orders, before=before, limit=limit, symbol=symbol, side=side)
    page = [record_of(Order, row) for row in rows]
    reports = _reports(db, [order.order_id for order in page])
    requested_ns, emulated = _requested_at(db, page), emulated_stops(db)
    current = _current_by_id(db, resources, page, reports)
    waiting = _waiting_for(db, resources, page, reports)
    strategies = strategies_of(db, [order.cause_id for order in page])
    return OrderPage(
        orders=[
            OrderStatus(
                **_fields(order, reports[order.order_id], requested_ns, emulated, current.get(order.order_id)),
                waiting_for=waiting.get(order.order_id),
                strategy=strategies.get(order.cause_id),
            )
            for order in page
        ],
        next=next_before,
    )


@router.get("/{order_id}", responses=problem_responses(404))
def get_order(order_id: str, db: PrimaryDb, resources: ResourcesDep) -> OrderDetail:
    """One order with its risk checks and executions, by the id of the order or of its command. 404 if unknown."""
    match = find_order(db, order_id)
    if match is None:
        return _undecided(db, resources, order_id)
    order, _ = match
    reports_by_order = _reports(db, [order.order_id])
    reports = reports_by_order[order.order_id]
    cancel = select(order_cancels.c.ts_ns).where(order_cancels.c.order_id == order.order_id)
    current = _current_by_id(db, resources, [order], reports_by_order)
    cancelled_ns = db.execute(cancel.order_by(order_cancels.c.seq).limit(1)).scalar()
    return OrderDetail(
        **_fields(order, reports, _requested_at(db, [order]), emulated_stops(db), current.get(order.order_id)),
        waiting_for=_waiting_for(db, resources, [order], reports_by_order).get(order.order_id),
        strategy=strategies_of(db, [order.cause_id]).get(order.cause_id),
        checks=[OrderCheck(**check._asdict()) for check in order.checks],
        executions=[ExecutionReport(**report_fields(report)) for report in reports],
        cancel_asked_at=None if cancelled_ns is None else utc(cancelled_ns),
    )


def find_order(db: Connection, requested_id: str) -> tuple[Order, str] | None:
    """Return an order and its status, by the id of the order or of its cause; None if there is no such order."""
    query = select(orders).where(or_(orders.c.order_id == requested_id, orders.c.cause_id == requested_id)).limit(1)
    row = db.execute(query).mappings().first()
    if row is None:
        return None
    order = record_of(Order, row)
    return order, _status(state_of(_reports(db, [order.order_id])[order.order_id]))


def find_successor(db: Connection, replaced: Order) -> tuple[Order, str] | None:
    """Return the order that has replaced this one, and its status. None if there is none."""
    same_symbol = orders.c.symbol == replaced.terms.symbol
    query = select(orders).where(same_symbol, orders.c.replaces == replaced.order_id).order_by(desc(orders.c.seq))
    for row in db.execute(query).mappings().all():
        order = record_of(Order, row)
        status = _status(state_of(_reports(db, [order.order_id])[order.order_id]))
        if status != "REJECTED":
            return order, status
    return None


def _undecided(db: Connection, resources: Resources, requested_id: str) -> OrderDetail:
    """Return a manual order that risk rejected or has not decided on yet. Raises NotFound."""
    command_id = command_id_of(requested_id) or requested_id
    command = find_command(db, command_id)
    if command is None or command.kind not in (SUBMIT_ORDER, AMEND_ORDER):
        raise NotFound(f"Order {requested_id} does not exist.")
    query = select(order_refusals).where(order_refusals.c.cause_id == command_id)
    row = db.execute(query).mappings().first()
    refusal = None if row is None else record_of(OrderRefusal, row)
    requested = _requested_terms(db, command)
    return OrderDetail(
        order_id=requested_order_id(command),
        symbol=requested.symbol,
        side=requested.side,
        quantity=requested.quantity,
        filled_quantity=Decimal(0),
        remaining_quantity=requested.quantity if refusal is None else Decimal(0),
        avg_fill_price=None,
        status="PENDING" if refusal is None else "REFUSED",
        submitted_at=utc(command.ts_ns),
        filled_at=None,
        **_optional_terms(requested),
        replaces=command.arguments.get("order_id", "") if command.kind == AMEND_ORDER else "",
        fees=Decimal(0),
        cause_id=command_id,
        reason=None if refusal is None else refusal.message,
        waiting_for=waiting_for_risk(read_progress(db, resources)) if refusal is None else None,
        checks=[] if refusal is None else [OrderCheck(check=refusal.check, found=refusal.found, limit=refusal.limit)],
        executions=[],
        cancel_asked_at=None,
    )


def _requested_terms(db: Connection, command: Command) -> OrderTerms | InvalidTerms:
    """Return the terms that a command requests. A change requests the existing order with new terms."""
    if command.kind == SUBMIT_ORDER:
        proposal = parse_proposal(command, command.ts_ns)
        return proposal if isinstance(proposal, InvalidTerms) else proposal.terms
    match = find_order(db, command.arguments.get("order_id", ""))
    if match is None:
        raise NotFound(f"Order {requested_order_id(command)} does not exist.")
    terms = match[0].terms
    try:
        return amend_terms(command, terms)
    except BadInput as error:
        return InvalidTerms(
            symbol=terms.symbol, side=terms.side, quantity=terms.quantity, value=str(error), expected="an order"
        )


def _requested_at(db: Connection, approved: Sequence[Order]) -> dict[str, int]:
    """Return the submission times (ns) of the manual orders among `approved`, by cause."""
    causes = [order.cause_id for order in approved if is_manual(order.order_id)]
    if not causes:
        return {}
    query = select(commands.c.command_id, commands.c.ts_ns).where(commands.c.command_id.in_(causes))
    return {row.command_id: row.ts_ns for row in db.execute(query)}


def _current_by_id(
    db: Connection, resources: Resources, page: Sequence[Order], reports: Mapping[str, Sequence[Execution]]
) -> dict[str, CurrentOrder]:
    """Return the open orders among `page` as they are now, by order id."""
    open_orders = [order for order in page if state_of(reports[order.order_id]) not in FINAL_STATES]
    return current_orders(db, open_orders, resources.settings_in_force.risk().instruments)


def _waiting_for(
    db: Connection, resources: Resources, page: Sequence[Order], reports: Mapping[str, Sequence[Execution]]
) -> dict[str, WaitingFor | None]:
    """Return what the open orders among `page` wait for, by order id."""
    open_orders = [order for order in page if state_of(reports[order.order_id]) not in FINAL_STATES]
    if not open_orders:
        return {}
    progress = read_progress(db, resources)
    sent = sent_to_broker(db, [order.order_id for order in open_orders])
    return {
        order.order_id: waiting_for_venue(progress, order, reports[order.order_id], sent=order.order_id in sent)
        for order in open_orders
    }


def _reports(db: Connection, order_ids: Sequence[str]) -> dict[str, list[Execution]]:
    by_order: dict[str, list[Execution]] = defaultdict(list)
    query = select(executions).where(executions.c.order_id.in_(order_ids)).order_by(executions.c.seq)
    for row in db.execute(query).mappings():
        report = record_of(Execution, row)
        by_order[report.order_id].append(report)
    return by_order


def _status(state: OrderState) -> str:
    return "PENDING" if state is OrderState.APPROVED else state.name


def _fields(
    order: Order,
    reports: Sequence[Execution],
    requested_ns: Mapping[str, int],
    emulated: Collection[str],
    current: CurrentOrder | None,
) -> dict[str, Any]:
    """Return the fields of an `OrderStatus`. `current` is the order with its present terms, None if it has ended."""
    fills = [report for report in reports if report.exec_type == TRADE]
    filled = sum((fill.quantity for fill in fills), Decimal(0))
    notional = sum((fill.quantity * fill.price for fill in fills), Decimal(0))
    status, terms = _status(state_of(reports)), order.terms if current is None else current.terms
    return {
        "order_id": order.order_id,
        "symbol": terms.symbol,
        "side": terms.side,
        "quantity": terms.quantity,
        "filled_quantity": filled,
        "remaining_quantity": Decimal(0) if current is None else current.remaining,
        "avg_fill_price": notional / filled if filled else None,
        "status": status,
        "submitted_at": utc(requested_ns.get(order.cause_id, order.ts_ns)),
        "filled_at": utc(fills[-1].filled_at_ns) if fills else None,
        **_optional_terms(terms),
        "replaces": order.replaces,
        "fees": sum((report.fee for report in reports), Decimal(0)),
        "cause_id": order.cause_id,
        "reason": (reports[-1].text or None) if status in FINISHED - {"FILLED"} else None,
        "emulated_stop": order.order_id in emulated and status not in FINISHED,
    }


def _optional_terms(terms: OrderTerms | InvalidTerms) -> dict[str, Any]:
    """Return the terms other than symbol, side and quantity, with the names of `OrderStatus`."""
    if isinstance(terms, InvalidTerms):
        return {"order_type": "", "limit_price": None, "time_in_force": ""}
    fields = terms._asdict()
    expires_ns = fields.pop("expires_ns")
    for name in ("symbol", "side", "quantity"):
        del fields[name]
    return {**fields, "expires_at": None if expires_ns is None else utc(expires_ns)}
