"""The orders of a strategy: the updates and fills that its handlers receive, and the working orders."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from schemas.records import (
    BUY,
    CANCELED,
    EXPIRED,
    REJECTED,
    SELL,
    Execution,
    InternalCross,
    OrderType,
    Side,
    TimeInForce,
)

WorkingStatus = Literal["pending", "approved", "accepted", "partially filled"]
UpdateStatus = Literal["accepted", "amended", "rejected", "cancelled", "expired", "reduced"]
RequestKind = Literal["submit", "amend", "cancel", "target"]

ENDS: Mapping[str, UpdateStatus] = {CANCELED: "cancelled", EXPIRED: "expired", REJECTED: "rejected"}


class OrderUpdate(NamedTuple):
    """What happened to an order or an action of a strategy.

    `order_id` is "" for a target. `request` is the action that was accepted or rejected; for an order that ended by
    itself it is "submit". `check`, `limit` and `value` name the check that rejected it, "" for other updates. `reason`
    is a sentence. `filled` is the quantity that the order has filled, in units.
    """

    order_id: str
    symbol: str
    status: UpdateStatus
    request: RequestKind
    check: str
    limit: str
    value: str
    reason: str
    tag: str
    filled: float
    time: int  # event time in nanoseconds


class Fill(NamedTuple):
    """A fill of a strategy: of its own order, its share in an order that the portfolio sent for a target, or a trade
    with another strategy of the account (an internal cross).

    `order_id` is the id that `submit` returned, or that of the portfolio's order or of the cross. `quantity` is above
    0, in units; `price` is per unit, `fee` in account currency. `remaining` is what the order can still fill.
    """

    order_id: str
    symbol: str
    side: Side
    quantity: float
    price: float
    fee: float
    remaining: float
    tag: str
    execution_id: str
    time: int  # when the venue traded, in nanoseconds

    @property
    def signed_quantity(self) -> float:
        return self.quantity if self.side == "BUY" else -self.quantity


class WorkingOrder(NamedTuple):
    """An order of the strategy that can still trade. Quantities in units, prices per unit; None if not used.

    `status` is pending until risk has approved the order, and approved until the venue has accepted it. `parent_id` is
    the order whose fill activates this one, "" for none.
    """

    id: str
    symbol: str
    side: Side
    quantity: float
    filled: float
    type: OrderType
    limit_price: float | None
    stop_price: float | None
    trail_amount: float | None
    trail_percent: float | None
    time_in_force: TimeInForce
    reduce_only: bool
    parent_id: str
    status: WorkingStatus
    tag: str

    @property
    def remaining(self) -> float:
        return self.quantity - self.filled


def fill_of(report: Execution, quantity: Decimal, fee: Decimal, known_id: str, tag: str) -> Fill:
    """Return a strategy's share of a fill: its signed `quantity` and its `fee`."""
    return Fill(
        order_id=known_id,
        symbol=report.symbol,
        side=BUY if quantity > 0 else SELL,
        quantity=float(abs(quantity)),
        price=float(report.price),
        fee=float(fee),
        remaining=float(report.leaves_quantity),
        tag=tag,
        execution_id=report.execution_id,
        time=report.filled_at_ns,
    )


def cross_fill(cross: InternalCross, quantity: Decimal) -> Fill:
    """Return a strategy's side of an internal cross: its signed `quantity`."""
    return Fill(
        order_id=cross.cross_id,
        symbol=cross.symbol,
        side=BUY if quantity > 0 else SELL,
        quantity=float(abs(quantity)),
        price=float(cross.price),
        fee=0.0,
        remaining=0.0,
        tag="",
        execution_id=cross.cross_id,
        time=cross.ts_ns,
    )
