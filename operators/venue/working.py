"""An order in the venue's book."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.money import ZERO
from operators.orders import OrderState
from schemas.records import Order


class WorkingOrder:
    """`day` is the trading day of the first bar it met (0: none yet); `rests` says that it met a bar with a trade."""

    __slots__ = (
        "cum_quantity",
        "day",
        "fees",
        "limit_price",
        "order_id",
        "order_type",
        "quantity",
        "rests",
        "seq",
        "side",
        "state",
        "symbol",
        "time_in_force",
    )

    def __init__(
        self,
        seq: int,
        order_id: str,
        symbol: str,
        side: str,
        quantity: Decimal,
        order_type: str,
        limit_price: Decimal | None,
        time_in_force: str,
        state: str = OrderState.SUBMITTED,
        cum_quantity: Decimal = ZERO,
        fees: Decimal = ZERO,
        day: int = 0,
        rests: bool = False,
    ) -> None:
        self.seq = seq
        self.order_id = order_id
        self.symbol = symbol
        self.side = side
        self.quantity = quantity
        self.order_type = order_type
        self.limit_price = limit_price
        self.time_in_force = time_in_force
        self.state = OrderState(state)
        self.cum_quantity = cum_quantity
        self.fees = fees
        self.day = day
        self.rests = rests

    @classmethod
    def of(cls, order: Order) -> WorkingOrder:
        return cls(
            order.seq,
            order.order_id,
            order.symbol,
            order.side,
            order.quantity,
            order.order_type,
            order.limit_price,
            order.time_in_force,
        )

    def plain(self) -> tuple[Any, ...]:
        """The arguments that make an equal order, for a snapshot."""
        return (
            self.seq,
            self.order_id,
            self.symbol,
            self.side,
            self.quantity,
            self.order_type,
            self.limit_price,
            self.time_in_force,
            self.state.value,
            self.cum_quantity,
            self.fees,
            self.day,
            self.rests,
        )
