"""An order in the venue's order book."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.money import ZERO
from operators.order_lifecycle import OrderState
from schemas.records import BUY, Order

_TERM_FIELDS = (
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
_PROGRESS_FIELDS = (
    "state",
    "cum_quantity",
    "traded_value",
    "taker_value",
    "fees",
    "first_day",
    "in_book",
    "stop_triggered",
    "best_price",
    "last_regular_bar",
    "waits_for_parent",
)


class VenueOrder:
    """The terms of an order, with the field names of `Order`, and its progress.

    cum_quantity        units traded so far
    traded_value        money traded so far
    taker_value         the part of `traded_value` that took liquidity
    fees                fees paid so far
    first_day           trading day of the first bar the order met; 0 before that
    in_book             True once the order met a bar with a trade
    stop_triggered      True once its stop price was reached
    best_price          trailing stop: the best price since the order became active
    last_regular_bar    on-close orders: close, end time, seq and volume of the last regular-session bar
    waits_for_parent    True until its parent order has filled
    """

    __slots__ = ("buying", *_TERM_FIELDS, *_PROGRESS_FIELDS)

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
        # Written out, because a loop over the names takes twice as long.
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
        self.traded_value = ZERO
        self.taker_value = ZERO
        self.fees = ZERO
        self.first_day = 0
        self.in_book = False
        self.stop_triggered = False
        self.best_price: Decimal | None = None
        self.last_regular_bar: tuple[float, int, int, float] | None = None
        self.waits_for_parent = False

    @property
    def leaves(self) -> Decimal:
        return self.quantity - self.cum_quantity

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the state for `from_tuple`."""
        terms = tuple(getattr(self, name) for name in _TERM_FIELDS)
        progress = tuple(getattr(self, name) for name in _PROGRESS_FIELDS)
        return (terms, (self.state.value, *progress[1:]))

    @classmethod
    def from_tuple(cls, values: tuple[Any, ...]) -> VenueOrder:
        terms, (state, *progress) = values
        order = cls.__new__(cls)
        for name, value in zip(_TERM_FIELDS, terms, strict=True):
            setattr(order, name, value)
        for name, value in zip(_PROGRESS_FIELDS, (OrderState(state), *progress), strict=True):
            setattr(order, name, value)
        order.buying = order.side == BUY
        return order
