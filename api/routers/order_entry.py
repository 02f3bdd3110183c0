"""Manual orders, changes and cancels. Each becomes a command in the log; risk decides on it in the next time slice."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

import structlog
from fastapi import APIRouter, Depends, Header, Response
from pydantic import AwareDatetime, ConfigDict, Field, model_validator
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from api.access import Caller, caller_with
from api.json_types import ApiModel, Symbol, TextLine, utc
from api.order_acceptance import is_repeated_submission, require_acceptable_change, require_acceptable_order
from api.problems import Conflict, NotFound, problem_responses
from api.resources import Resources, ResourcesDep
from api.roles import Permission
from api.routers import PREFIX
from api.routers.orders import FINISHED, find_order, find_successor
from api.submissions import find_command, submit
from operators.manual_orders import (
    PRICES_OF,
    QUANTITY_MAX,
    amended_order_id,
    command_id_of,
    order_id_of,
    requested_order_id,
)
from operators.money import plain
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    DAY,
    GTD,
    MARKET,
    SUBMIT_ORDER,
    TRAILING_STOP,
    OrderType,
    Side,
    TimeInForce,
)
from sinks.commands import new_command
from sinks.tables import order_refusals

log = structlog.get_logger(__name__)

router = APIRouter(
    prefix=f"{PREFIX}/orders", tags=["orders"], responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503)
)

Trader = Annotated[Caller, Depends(caller_with(Permission.TRADE, "command"))]
Canceller = Annotated[Caller, Depends(caller_with(Permission.CANCEL, "command"))]
Quantity = Annotated[Decimal, Field(gt=0, le=QUANTITY_MAX, decimal_places=9)]
OrderPrice = Annotated[Decimal, Field(gt=0, le=10**9, decimal_places=9)]
IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[!-~]{1,128}$", description="Repeated requests with the same key return the same order."),
]


Name = Annotated[str, Field(pattern=r"^[!-~]{0,64}$")]
_PRICES = (
    *("limit_price", "stop_price", "trail_amount", "trail_percent"),
    *("take_profit_price", "stop_loss_price", "stop_loss_limit_price"),
)


class OrderTicket(ApiModel):
    """A manual order. Each order type requires its own prices. Decimals may be strings, which preserve every digit.

    `take_profit_price` and `stop_loss_price` add a bracket: when the order fills, the exit orders start working at the
    venue, and the fill of one cancels the other. With a `parent_id` (the `command_id` of another order), the order
    waits until that order fills.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "symbol": "AAPL",
                "side": "BUY",
                "quantity": 100,
                "order_type": "MARKET",
                "time_in_force": "DAY",
            }
        },
    )

    symbol: Symbol
    side: Side
    quantity: Quantity
    order_type: OrderType = MARKET
    limit_price: OrderPrice | None = None
    stop_price: OrderPrice | None = None
    trail_amount: OrderPrice | None = None
    trail_percent: Annotated[Decimal, Field(gt=0, lt=100, decimal_places=9)] | None = None
    time_in_force: TimeInForce = DAY
    expires_at: AwareDatetime | None = Field(
        default=None, description="required for GTD orders, not allowed for others"
    )
    reduce_only: bool = False
    group_id: Name = Field(
        default="", description="when one order of a group trades, the others of the group are cancelled"
    )
    parent_id: Name = ""
    take_profit_price: OrderPrice | None = None
    stop_loss_price: OrderPrice | None = None
    stop_loss_limit_price: OrderPrice | None = None

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        required_prices = PRICES_OF[self.order_type]
        for name in ("limit_price", "stop_price"):
            if (name in required_prices) is not (getattr(self, name) is not None):
                kinds = " and ".join(kind for kind, names in PRICES_OF.items() if name in names)
                raise ValueError(_required_only_for(name, kinds, present=getattr(self, name) is not None))
        trails = [name for name in ("trail_amount", "trail_percent") if getattr(self, name) is not None]
        if len(trails) != (self.order_type == TRAILING_STOP):
            raise ValueError(
                "TRAILING_STOP orders require either trail_amount or trail_percent; other orders do not allow them; "
                f"found {' and '.join(trails) or 'neither'} in a {self.order_type} order"
            )
        if (self.time_in_force == GTD) is not (self.expires_at is not None):
            raise ValueError(_required_only_for("expires_at", "GTD", present=self.expires_at is not None))
        if self.stop_loss_limit_price is not None and self.stop_loss_price is None:
            raise ValueError("stop_loss_limit_price requires stop_loss_price, found none")
        return self

    def arguments(self) -> dict[str, str]:
        """Return the arguments of the command. Equal orders have equal arguments."""
        terms = {"symbol": self.symbol, "side": self.side, "quantity": plain(self.quantity)}
        terms |= {"order_type": self.order_type, "time_in_force": self.time_in_force}
        prices = {name: getattr(self, name) for name in _PRICES}
        terms |= {name: plain(price) for name, price in prices.items() if price is not None}
        if self.expires_at is not None:
            terms["expires_ns"] = str(int(self.expires_at.timestamp()) * 1_000_000_000)
        if self.reduce_only:
            terms["reduce_only"] = "true"
        return terms | {name: text for name in ("group_id", "parent_id") if (text := getattr(self, name))}


def _required_only_for(name: str, kinds: str, *, present: bool) -> str:
    return f"{name} is allowed only for {kinds} orders" if present else f"{name} is required for {kinds} orders"


class OrderChange(ApiModel):
    """New terms of a working order. `quantity` is the new total and includes the units that have already traded."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"limit_price": "149.50"}})

    quantity: Quantity | None = None
    limit_price: OrderPrice | None = None
    stop_price: OrderPrice | None = None
    trail_amount: OrderPrice | None = None
    trail_percent: Annotated[Decimal, Field(gt=0, lt=100, decimal_places=9)] | None = None

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if not self.arguments():
            raise ValueError("no change: set a quantity, a price or a trail")
        return self

    def arguments(self) -> dict[str, str]:
        """Return the arguments of the command."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: plain(value) for name, value in values.items() if value is not None}


class ChangeReceipt(ApiModel):
    """The changed order has a new id. It replaces the order `replaces` when risk and the venue accept the change."""

    order_id: str
    replaces: str
    status: Literal["PENDING"]
    submitted_at: str
    command_id: str


class SubmitReceipt(ApiModel):
    """The order is PENDING until risk decides. `GET /api/v1/orders/{order_id}` returns its status."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"order_id": "ord-cmd-7f", "status": "PENDING", "submitted_at": "2024-01-15T10:30:00Z"}
        }
    )

    order_id: str
    status: Literal["PENDING"]
    submitted_at: str
    command_id: str


class CancelReceipt(ApiModel):
    """The cancel request is stored in the log. The status of the order shows the result."""

    order_id: str
    status: Literal["CANCEL_PENDING"]
    submitted_at: str
    command_id: str


@router.post("", status_code=202)
def submit_order(
    ticket: OrderTicket,
    caller: Trader,
    resources: ResourcesDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> SubmitReceipt:
    """Submit an order. 202: the command is stored in the log. 409: the key was used for a different order.

    422: lot, tick or a price on the wrong side of the market or of the entry, with the reason.
    """
    actor, reason, arguments = caller.username, "manual order", ticket.arguments()
    with resources.engine.connect() as db:
        if not is_repeated_submission(db, actor, idempotency_key):
            candidate = new_command(SUBMIT_ORDER, actor=actor, reason=reason, arguments=arguments)
            require_acceptable_order(db, resources.settings_in_force.risk(), candidate)
    command = submit(
        resources, SUBMIT_ORDER, actor=actor, reason=reason, arguments=arguments, idempotency_key=idempotency_key
    )
    order_id = order_id_of(command.command_id)
    response.headers["Location"] = f"{PREFIX}/orders/{order_id}"
    return SubmitReceipt(
        order_id=order_id, status="PENDING", submitted_at=utc(command.ts_ns), command_id=command.command_id
    )


@router.patch("/{order_id}", status_code=202)
def change_order(order_id: str, change: OrderChange, caller: Trader, resources: ResourcesDep) -> ChangeReceipt:
    """Change a working order, or the order that has replaced it. Risk applies the same checks as to a new order.

    409 if the order is already closed. 422 as for a new order.
    """
    order_id = _open_order_id(resources, order_id)
    command = new_command(
        AMEND_ORDER,
        actor=caller.username,
        reason="manual change",
        arguments={"order_id": order_id, **change.arguments()},
    )
    with resources.engine.connect() as db:
        match = find_order(db, order_id)
        if match is not None:
            require_acceptable_change(db, resources.settings_in_force.risk(), command, match[0].terms)
    resources.command_log.send(command)
    return ChangeReceipt(
        order_id=amended_order_id(command.command_id, order_id),
        replaces=order_id,
        status="PENDING",
        submitted_at=utc(command.ts_ns),
        command_id=command.command_id,
    )


@router.delete("/{order_id}", status_code=202)
def cancel_order(
    order_id: str, caller: Canceller, resources: ResourcesDep, reason: TextLine = "manual cancel"
) -> CancelReceipt:
    """Cancel an order, or the order that has replaced it. 409 if the order is already closed.

    While the database is unavailable, the cancel is sent without a check that the order exists.
    """
    try:
        order_id = _open_order_id(resources, order_id)
    except (OperationalError, PoolTimeoutError) as error:
        log.warning("database unavailable, cancel sent unchecked", order_id=order_id, error=str(error).splitlines()[0])
    command = new_command(CANCEL_ORDER, actor=caller.username, reason=reason, arguments={"order_id": order_id})
    resources.command_log.send(command)
    return CancelReceipt(
        order_id=order_id, status="CANCEL_PENDING", submitted_at=utc(command.ts_ns), command_id=command.command_id
    )


def _open_order_id(resources: Resources, requested_id: str) -> str:
    """Return the id of the order or of its successor. Raises NotFound, or Conflict if the order has ended."""
    with resources.engine.connect() as db:
        match = find_order(db, requested_id)
        while match is not None and match[1] == "REPLACED" and (successor := find_successor(db, match[0])):
            match = successor
        if match is not None:
            order, status = match
            if status in FINISHED:
                raise Conflict(f"Order {order.order_id} is already {status}.")
            return order.order_id
        command_id = command_id_of(requested_id) or requested_id
        command = find_command(db, command_id)
        if command is None or command.kind not in (SUBMIT_ORDER, AMEND_ORDER):
            raise NotFound(f"Order {requested_id} does not exist.")
        query = select(order_refusals.c.message).where(order_refusals.c.cause_id == command_id)
        refusal_message = db.execute(query).scalar()
        if refusal_message is not None:
            raise Conflict(f"Risk rejected order {requested_order_id(command)}: {refusal_message}.")
        return requested_order_id(command)
