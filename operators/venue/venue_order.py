"""An order in the venue's order book."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.ledger.split_ratio import exact_ratio, split_price
from operators.money import ZERO, to_decimal
from operators.order_lifecycle import FINAL_STATES, OrderState
from operators.order_split import split_lots, split_order
from schemas.records import BUY, Order
from schemas.records.flat import field_names, from_flat, to_flat

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
    "held_back",
    "active_ns",
    "auction_after_day",
    "former_ids",
)
_RETAINED_BY_AMENDMENT = (
    "cum_quantity",
    "traded_value",
    "taker_value",
    "fees",
    "first_day",
    "stop_triggered",
    "best_price",
    "last_regular_bar",
    "waits_for_parent",
    "auction_after_day",
)
# A snapshot has the flat fields of the order without the two from here on: risk epoch and checks.
_EPOCH_INDEX = field_names(Order).index("risk_epoch")


class VenueOrder:
    """The terms of an order and its progress. The venue changes the terms: see `reduce` and `OrderBook.adopt_children`.

    buying              whether it is a buy order
    state               its state in the life cycle
    cum_quantity        units traded so far
    traded_value        money traded so far
    taker_value         the part of `traded_value` that took liquidity
    fees                fees paid so far
    first_day           trading day of the first bar the order met; 0 before that
    in_book             True once the order met a bar with a trade
    stop_triggered      True once its stop price was reached
    best_price          trailing stop: the best price since the order became active
    last_regular_bar    on-close orders: close, end time, seq and volume of the last regular-session bar
    waits_for_parent    True until its parent order has a fill
    held_back           units that wait for further fills of the parent; they are not tradable
    active_ns           time from which it may trade: its approval, or the fill of its parent
    auction_after_day   on-open orders: trading day of the last regular session that began before the order arrived
    former_ids          ids of the orders that it has replaced
    """

    __slots__ = ("buying", "cause_id", "order_id", "replaces", "seq", "terms", "ts_ns", *_PROGRESS_FIELDS)

    def __init__(self, order: Order) -> None:
        self.seq = order.seq
        self.ts_ns = order.ts_ns
        self.order_id = order.order_id
        self.cause_id = order.cause_id
        self.terms = order.terms
        self.replaces = order.replaces
        self.buying = order.terms.side == BUY
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
        self.held_back = ZERO
        self.active_ns = order.ts_ns
        self.auction_after_day = 0
        self.former_ids: tuple[str, ...] = ()

    @property
    def remaining(self) -> Decimal:
        return self.terms.quantity - self.cum_quantity

    @property
    def is_open(self) -> bool:
        return self.state not in FINAL_STATES

    @property
    def tradable(self) -> Decimal:
        """The remaining quantity that does not wait for the parent order."""
        return self.terms.quantity - self.cum_quantity - self.held_back

    @property
    def is_held(self) -> bool:
        """Whether a part of the order waits for its parent."""
        return self.held_back > 0

    def wait_for_parent(self) -> None:
        self.waits_for_parent, self.held_back = True, self.remaining

    def copy_progress_from(self, replaced: VenueOrder) -> None:
        """Continue as the amended version of `replaced`: with its fills, its stop and its place in the book."""
        for name in _RETAINED_BY_AMENDMENT:
            setattr(self, name, getattr(replaced, name))
        self.former_ids = (*replaced.former_ids, replaced.order_id)
        self.in_book = replaced.in_book and self.terms.limit_price == replaced.terms.limit_price
        self.terms = self.terms._replace(parent_id=replaced.terms.parent_id)
        if self.waits_for_parent:
            self.held_back = self.remaining
        elif replaced.held_back:
            self.held_back = min(self.remaining, max(ZERO, self.remaining - replaced.tradable))

    def split(self, ratio: Decimal, lot_size: Decimal) -> None:
        """Convert to new shares at a split: `ratio` new units per old unit. `remaining` may become 0."""
        self.terms, self.cum_quantity = split_order(self.terms, self.cum_quantity, ratio, lot_size)
        self.held_back = self.remaining if self.waits_for_parent else split_lots(self.held_back, ratio, lot_size)
        if self.best_price is not None:
            self.best_price = split_price(self.best_price, ratio)
        if self.last_regular_bar is not None:
            close, closed_ns, seq, volume = self.last_regular_bar
            self.last_regular_bar = (
                float(split_price(to_decimal(close), ratio)),
                closed_ns,
                seq,
                volume * float(exact_ratio(ratio)),
            )

    def reduce(self, quantity: Decimal) -> None:
        """Reduce the order's quantity: another order of its OCO group has traded, or its parent has ended.

        A negative quantity increases it: its parent was amended.
        """
        self.terms = self.terms._replace(quantity=self.terms.quantity - quantity)

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the state for `from_tuple`."""
        order = Order(
            seq=self.seq,
            ts_ns=self.ts_ns,
            order_id=self.order_id,
            cause_id=self.cause_id,
            terms=self.terms,
            risk_epoch=0,
            checks=[],
            replaces=self.replaces,
        )
        values = to_flat(order)
        progress = tuple(getattr(self, name) for name in _PROGRESS_FIELDS)
        return ((*values[:_EPOCH_INDEX], *values[_EPOCH_INDEX + 2 :]), (self.state.value, *progress[1:]))

    @classmethod
    def from_tuple(cls, state: tuple[Any, ...]) -> VenueOrder:
        """Return the order of a tuple. Those of release 0.2.0 and earlier end with `waits_for_parent`."""
        values, (order_state, *progress) = state
        order = cls(from_flat(Order, (*values[:_EPOCH_INDEX], 0, [], *values[_EPOCH_INDEX:])))
        for name, value in zip(_PROGRESS_FIELDS, (OrderState(order_state), *progress), strict=False):
            setattr(order, name, value)
        if order.waits_for_parent:
            order.held_back = order.remaining
        return order
