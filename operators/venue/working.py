"""An order in the venue's book."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.money import ZERO
from operators.orders import OrderState
from schemas.records import BUY, Order

_TERMS = (
    "seq",
    "ts_ns",
    "order_id",
    "cause_id",
    "symbol",
    "side",
    "quantity",
    "order_type",
    "limit_price",
    "time_in_force",
    "stop_price",
    "trail_amount",
    "trail_percent",
    "expires_ns",
    "reduce_only",
    "group_id",
    "parent_id",
    "replaces",
)
_PROGRESS = (
    "state",
    "cum_quantity",
    "value",
    "taken",
    "fees",
    "day",
    "rests",
    "triggered",
    "best",
    "last_regular",
    "held",
)


class WorkingOrder:
    """The order's terms by the names that `Order` has, and how far it has come.

    cum_quantity   units traded
    value, taken   money traded in all, and of it as a taker
    fees           paid so far
    day            trading day of the first bar it met, 0: none yet
    rests          whether it met a bar with a trade, so that it is in the book
    triggered      whether its stop was reached
    best           trailing stop: the best price since it works
    last_regular   at the close: close, end, seq and volume of the last regular bar it met
    held           waits for its parent
    """

    __slots__ = ("buying", *_TERMS, *_PROGRESS)

    seq: int
    ts_ns: int
    order_id: str
    cause_id: str
    symbol: str
    side: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    time_in_force: str
    stop_price: Decimal | None
    trail_amount: Decimal | None
    trail_percent: Decimal | None
    expires_ns: int | None
    reduce_only: bool
    group_id: str
    parent_id: str
    replaces: str

    def __init__(self, order: Order) -> None:
        # Written out: half the cost of a loop over the names, on every order.
        self.seq = order.seq
        self.ts_ns = order.ts_ns
        self.order_id = order.order_id
        self.cause_id = order.cause_id
        self.symbol = order.symbol
        self.side = order.side
        self.quantity = order.quantity
        self.order_type = order.order_type
        self.limit_price = order.limit_price
        self.time_in_force = order.time_in_force
        self.stop_price = order.stop_price
        self.trail_amount = order.trail_amount
        self.trail_percent = order.trail_percent
        self.expires_ns = order.expires_ns
        self.reduce_only = order.reduce_only
        self.group_id = order.group_id
        self.parent_id = order.parent_id
        self.replaces = order.replaces
        self.buying = order.side == BUY
        self.state = OrderState.SUBMITTED
        self.cum_quantity = ZERO
        self.value = ZERO
        self.taken = ZERO
        self.fees = ZERO
        self.day = 0
        self.rests = False
        self.triggered = False
        self.best: Decimal | None = None
        self.last_regular: tuple[float, int, int, float] | None = None
        self.held = False

    @property
    def leaves(self) -> Decimal:
        return self.quantity - self.cum_quantity

    def plain(self) -> tuple[Any, ...]:
        """Everything that `revive` needs."""
        terms = tuple(getattr(self, name) for name in _TERMS)
        progress = tuple(getattr(self, name) for name in _PROGRESS)
        return (terms, (self.state.value, *progress[1:]))

    @classmethod
    def revive(cls, plain: tuple[Any, ...]) -> WorkingOrder:
        terms, (state, *progress) = plain
        order = cls.__new__(cls)
        for name, value in zip(_TERMS, terms, strict=True):
            setattr(order, name, value)
        for name, value in zip(_PROGRESS, (OrderState(state), *progress), strict=True):
            setattr(order, name, value)
        order.buying = order.side == BUY
        return order
