"""Orders and cancels by hand. Each becomes a command in the log; risk decides on it at the next tick."""

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
from api.problems import Conflict, NotFound, problem_responses
from api.resources import Resources, ResourcesDep
from api.roles import Permission
from api.routers import PREFIX
from api.routers.orders import FINISHED, Side, find_order
from api.submissions import find_command, submit
from operators.manual_orders import CANCEL_ORDER, QUANTITY_MAX, SUBMIT_ORDER, command_id_of, order_id_of
from operators.money import plain
from operators.risk.commands import AMEND_ORDER
from schemas.records import DAY, GTD, LIMIT, MARKET, STOP, STOP_LIMIT, TRAILING_STOP
from sinks.commands import new_command
from sinks.tables import order_refusals

log = structlog.get_logger(__name__)

router = APIRouter(
    prefix=f"{PREFIX}/orders", tags=["orders"], responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503)
)

Trader = Annotated[Caller, Depends(caller_with(Permission.TRADE, "command"))]
Canceller = Annotated[Caller, Depends(caller_with(Permission.CANCEL, "command"))]
Quantity = Annotated[Decimal, Field(gt=0, le=QUANTITY_MAX, decimal_places=9)]
Price = Annotated[Decimal, Field(gt=0, le=10**9, decimal_places=9)]
IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[!-~]{1,128}$", description="the same key gives the same order, however often it is sent"),
]


Name = Annotated[str, Field(pattern=r"^[!-~]{0,64}$")]
_PRICES_OF = {
    MARKET: (),
    LIMIT: ("limit_price",),
    STOP: ("stop_price",),
    STOP_LIMIT: ("limit_price", "stop_price"),
    TRAILING_STOP: (),
}
_PRICES = (
    *("limit_price", "stop_price", "trail_amount", "trail_percent"),
    *("take_profit_price", "stop_loss_price", "stop_loss_limit_price"),
)


class OrderTicket(ApiModel):
    """An order by hand. Each type has its own prices (`_PRICES_OF`). Exact decimals may be given as text.

    `take_profit_price` and `stop_loss_price` make a bracket: once the order is filled, what closes it works at the
    venue, and one of the two cancels the other. `parent_id` (an order's `command_id`) lets it wait for that order's
    fill.
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
    order_type: Literal["MARKET", "LIMIT", "STOP", "STOP_LIMIT", "TRAILING_STOP"] = MARKET  # type: ignore[assignment]
    limit_price: Price | None = None
    stop_price: Price | None = None
    trail_amount: Price | None = None
    trail_percent: Annotated[Decimal, Field(gt=0, lt=100, decimal_places=9)] | None = None
    time_in_force: Literal["DAY", "GTC", "GTD", "IOC", "FOK", "OPG", "CLS"] = DAY  # type: ignore[assignment]
    expires_at: AwareDatetime | None = Field(default=None, description="of a GTD order")
    reduce_only: bool = False
    group_id: Name = Field(default="", description="one of a group that trades cancels the others")
    parent_id: Name = ""
    take_profit_price: Price | None = None
    stop_loss_price: Price | None = None
    stop_loss_limit_price: Price | None = None

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        required_prices = _PRICES_OF[self.order_type]
        for name in ("limit_price", "stop_price"):
            if (name in required_prices) is not (getattr(self, name) is not None):
                kinds = " or ".join(kind for kind, names in _PRICES_OF.items() if name in names)
                raise ValueError(f"{name} belongs to a {kinds} order, and only there")
        trails = [name for name in ("trail_amount", "trail_percent") if getattr(self, name) is not None]
        if len(trails) != (self.order_type == TRAILING_STOP):
            raise ValueError("either trail_amount or trail_percent belongs to a TRAILING_STOP order, and only there")
        if (self.time_in_force == GTD) is not (self.expires_at is not None):
            raise ValueError("expires_at belongs to a GTD order, and only there")
        if self.stop_loss_limit_price is not None and self.stop_loss_price is None:
            raise ValueError("stop_loss_limit_price needs a stop_loss_price")
        return self

    def arguments(self) -> dict[str, str]:
        """The command's: the same order always reads the same."""
        terms = {"symbol": self.symbol, "side": self.side, "quantity": plain(self.quantity)}
        terms |= {"order_type": self.order_type, "time_in_force": self.time_in_force}
        prices = {name: getattr(self, name) for name in _PRICES}
        terms |= {name: plain(price) for name, price in prices.items() if price is not None}
        if self.expires_at is not None:
            terms["expires_ns"] = str(int(self.expires_at.timestamp()) * 1_000_000_000)
        if self.reduce_only:
            terms["reduce_only"] = "true"
        return terms | {name: text for name in ("group_id", "parent_id") if (text := getattr(self, name))}


class OrderChange(ApiModel):
    """What shall be another about a working order; `quantity` is the new total, traded units included."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"limit_price": "149.50"}})

    quantity: Quantity | None = None
    limit_price: Price | None = None
    stop_price: Price | None = None
    trail_amount: Price | None = None
    trail_percent: Annotated[Decimal, Field(gt=0, lt=100, decimal_places=9)] | None = None

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if not self.arguments():
            raise ValueError("nothing to change: give a quantity or a price")
        return self

    def arguments(self) -> dict[str, str]:
        """The command's."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: plain(value) for name, value in values.items() if value is not None}


class ChangeReceipt(ApiModel):
    """The changed order has an id of its own and takes the place of `replaces` once risk and venue have agreed."""

    order_id: str
    replaces: str
    status: Literal["PENDING"]
    submitted_at: str
    command_id: str


class SubmitReceipt(ApiModel):
    """`order_id` is the order's for good. PENDING until risk has decided: `GET /api/v1/orders/{order_id}`."""

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
    """The venue is asked to cancel; what it answers is the order's status."""

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
    """Submit an order. 202: it is in the log for good. 409: the key was used for another order."""
    command = submit(
        resources,
        SUBMIT_ORDER,
        actor=caller.username,
        reason="order by hand",
        arguments=ticket.arguments(),
        idempotency_key=idempotency_key,
    )
    order_id = order_id_of(command.command_id)
    response.headers["Location"] = f"{PREFIX}/orders/{order_id}"
    return SubmitReceipt(
        order_id=order_id, status="PENDING", submitted_at=utc(command.ts_ns), command_id=command.command_id
    )


@router.patch("/{order_id}", status_code=202)
def change_order(order_id: str, change: OrderChange, caller: Trader, resources: ResourcesDep) -> ChangeReceipt:
    """Ask for a working order to be changed. Judged by the same checks as a new one. 409 where it has ended already."""
    order_id = _open_order_id(resources, order_id)
    command = new_command(
        AMEND_ORDER,
        actor=caller.username,
        reason="changed by hand",
        arguments={"order_id": order_id, **change.arguments()},
    )
    resources.command_log.send(command)
    return ChangeReceipt(
        order_id=order_id_of(command.command_id),
        replaces=order_id,
        status="PENDING",
        submitted_at=utc(command.ts_ns),
        command_id=command.command_id,
    )


@router.delete("/{order_id}", status_code=202)
def cancel_order(
    order_id: str, caller: Canceller, resources: ResourcesDep, reason: TextLine = "cancelled by hand"
) -> CancelReceipt:
    """Ask for an order to be cancelled. 409 where it has ended already.

    Never held back: while the database is away the cancel is sent without looking whether there is such an order.
    """
    try:
        order_id = _open_order_id(resources, order_id)
    except (OperationalError, PoolTimeoutError) as error:
        log.warning("database away, cancelling unseen", order_id=order_id, error=str(error).splitlines()[0])
    command = new_command(CANCEL_ORDER, actor=caller.username, reason=reason, arguments={"order_id": order_id})
    resources.command_log.send(command)
    return CancelReceipt(
        order_id=order_id, status="CANCEL_PENDING", submitted_at=utc(command.ts_ns), command_id=command.command_id
    )


def _open_order_id(resources: Resources, requested_id: str) -> str:
    """The order's own id. Raises NotFound or, where it has ended or was refused, Conflict."""
    with resources.engine.connect() as db:
        match = find_order(db, requested_id)
        if match is not None:
            order, status = match
            if status in FINISHED:
                raise Conflict(f"Order {order.order_id} is {status}: there is nothing to do.")
            return order.order_id
        command_id = command_id_of(requested_id) or requested_id
        command = find_command(db, command_id)
        if command is None or command.kind != SUBMIT_ORDER:
            raise NotFound(f"There is no order {requested_id}.")
        query = select(order_refusals.c.message).where(order_refusals.c.cause_id == command_id)
        refusal_message = db.execute(query).scalar()
        if refusal_message is not None:
            raise Conflict(f"Order {order_id_of(command_id)} was refused: {refusal_message}.")
        return order_id_of(command_id)
