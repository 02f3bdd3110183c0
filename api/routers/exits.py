"""Close a position, close all positions, cancel all orders: a plan to confirm, and its execution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import structlog
from fastapi import APIRouter
from pydantic import ConfigDict, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from api.access import require_permission
from api.exit_plan import PLAN_MAX, ExitAction, ExitPlan, closing_arguments, make_plan
from api.json_types import ApiModel, Symbol, TextLine
from api.problems import NotFound, problem_responses
from api.resources import PrimaryDb, Resources, ResourcesDep
from api.roles import Permission
from api.routers import PREFIX
from api.routers.order_entry import Canceller, IdempotencyKey, Quantity
from api.routers.orders import FINISHED, find_order
from api.submissions import find_command, submit
from operators.manual_orders import command_id_of, order_id_of
from operators.money import plain
from schemas.errors import BadInput
from schemas.records import CANCEL_ORDER, SUBMIT_ORDER, Side
from sinks.commands import new_command

log = structlog.get_logger(__name__)

router = APIRouter(
    prefix=f"{PREFIX}/exits", tags=["orders"], responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503)
)


_REASONS = {
    ExitAction.CLOSE: "close position",
    ExitAction.FLATTEN_ALL: "flatten all",
    ExitAction.CANCEL_ALL: "cancel all",
}


class ExitRequest(ApiModel):
    """`CLOSE` needs a `symbol`: it closes the position and cancels the symbol's open orders. `FLATTEN_ALL` does so for
    all symbols. `CANCEL_ALL` cancels orders only; with a `symbol`, those of the symbol.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"action": "CLOSE", "symbol": "AAPL"}})

    action: ExitAction
    symbol: Symbol | None = None


class ClosingOrder(ApiModel):
    model_config = ConfigDict(extra="forbid")

    symbol: Symbol
    side: Side
    quantity: Quantity


class ConfirmedExit(ApiModel):
    """What the user confirmed: the orders to cancel and the reduce-only market orders to send, from the plan."""

    model_config = ConfigDict(extra="forbid")

    action: ExitAction
    cancels: Annotated[list[TextLine], Field(max_length=PLAN_MAX)] = Field(default_factory=list)
    orders: Annotated[list[ClosingOrder], Field(max_length=PLAN_MAX)] = Field(default_factory=list)
    reason: TextLine | None = None


class ExitReceipt(ApiModel):
    """The ids of the orders that were sent, and of those for which a cancel was sent. Orders that had already closed
    are in `already_closed` with their status.
    """

    orders: list[str]
    cancels: list[str]
    already_closed: dict[str, str]


@router.post("/plan")
def plan_exit(request: ExitRequest, caller: Canceller, db: PrimaryDb, resources: ResourcesDep) -> ExitPlan:
    """What the action would do now: cancels, closing orders, their values and the forecast of risk. Sends nothing."""
    if request.action is ExitAction.CLOSE and request.symbol is None:
        raise BadInput("CLOSE requires a symbol, found none")
    if request.action is not ExitAction.CANCEL_ALL:
        require_permission(caller, Permission.TRADE)
    return make_plan(db, resources.settings_in_force.risk(), request.action, request.symbol)


@router.post("", status_code=202)
def execute_exit(
    confirmed: ConfirmedExit, caller: Canceller, resources: ResourcesDep, idempotency_key: IdempotencyKey = None
) -> ExitReceipt:
    """Send the cancels, then the closing orders, exactly as confirmed. 202: all commands are stored in the log.

    The orders are reduce-only: if a position has become smaller, its order closes the rest. With an idempotency
    key, a retry sends no order twice. Risk decides on the orders at the next time slice.
    """
    if confirmed.orders:
        require_permission(caller, Permission.TRADE)
    reason = confirmed.reason or _REASONS[confirmed.action]
    cancels, already_closed = _send_cancels(resources, caller.username, reason, confirmed.cancels)
    orders = []
    for order in confirmed.orders:
        command = submit(
            resources,
            SUBMIT_ORDER,
            actor=caller.username,
            reason=reason,
            arguments=closing_arguments(order.symbol, order.side, plain(order.quantity)),
            idempotency_key=None if idempotency_key is None else f"{idempotency_key}/{order.symbol}",
        )
        orders.append(order_id_of(command.command_id))
    return ExitReceipt(orders=orders, cancels=cancels, already_closed=already_closed)


def _send_cancels(
    resources: Resources, actor: str, reason: str, order_ids: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Send a cancel for each order that is open, and return these and the closed ones with their status.

    Raises NotFound for an unknown order, before anything is sent.

    While the database is unavailable, all cancels are sent: one for a closed order has no effect.
    """
    closed: dict[str, str] = {}
    try:
        with resources.engine.connect() as db:
            for order_id in order_ids:
                match = find_order(db, order_id)
                if match is not None and match[1] in FINISHED:
                    closed[order_id] = match[1]
                if match is None and find_command(db, command_id_of(order_id) or order_id) is None:
                    raise NotFound(f"Order {order_id} does not exist.")
    except (OperationalError, PoolTimeoutError) as error:
        log.warning("database unavailable, cancels sent unchecked", error=str(error).splitlines()[0])
    open_ids = [order_id for order_id in order_ids if order_id not in closed]
    for order_id in open_ids:
        arguments = {"order_id": order_id}
        resources.command_log.send(new_command(CANCEL_ORDER, actor=actor, reason=reason, arguments=arguments))
    return open_ids, closed
