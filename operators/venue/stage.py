"""Orders meet bars.

An order is decided on bars up to one clock and reaches the venue before the next bar, so the first price it can trade
at is that bar's open. A bar without a trade fills nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from operators.money import ONE, ZERO, multiply, quantize, to_decimal
from operators.orders import OrderEvent, follow
from operators.venue.settings import BPS, VenueSettings
from operators.venue.working import WorkingOrder
from schemas.records import (
    BUY,
    CANCELED,
    DAY,
    EXPIRED,
    HALTED,
    MARKET,
    NEW,
    REJECTED,
    TRADE,
    Bar,
    Execution,
    Order,
    Record,
    RiskFence,
    execution_id,
)

SNAPSHOT_VERSION = 1
_EVENT = {
    NEW: OrderEvent.ACCEPT,
    CANCELED: OrderEvent.CANCEL,
    EXPIRED: OrderEvent.EXPIRE,
    REJECTED: OrderEvent.REJECT,
}


class VenueStage:
    """Reads orders and fences, then bars; writes `Execution`. Orders of a symbol fill in the order they were approved.

    Market order: the next bar with a trade, at its open, worse by `slippage_bps`. Limit order: at the open where that
    is at the limit or better, else at the limit where the bar touches it, else it rests. On its first bar a limit
    order takes liquidity, with slippage up to its limit; later it rests in the book and has none.
    """

    def __init__(self, settings: VenueSettings) -> None:
        self.settings = settings
        self._seq = 0
        self._epoch = 0
        self._halted = False
        self._working: dict[str, list[WorkingOrder]] = {}  # by symbol, in the order of approval
        share = settings.slippage_bps / BPS
        self._slip = {True: ONE + share, False: ONE - share}

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        working = self._working
        for record in records:
            kind = type(record)
            if kind is Bar:
                if not working:
                    break  # bars come last; without an order none of them matters
                orders = working.get(record.symbol)  # type: ignore[union-attr]
                if orders:
                    self._meet_bar(ts_ns, orders, record, out)  # type: ignore[arg-type]
            elif isinstance(record, Order):
                self._take_order(ts_ns, record, out)
            elif isinstance(record, RiskFence):
                self._take_fence(ts_ns, record, out)
        return out

    def _take_order(self, ts_ns: int, order: Order, out: list[Record]) -> None:
        taken = WorkingOrder.of(order)
        if order.risk_epoch < self._epoch:
            text = f"risk epoch {order.risk_epoch} is older than the fence at {self._epoch}"
            self._report(ts_ns, taken, REJECTED, out, text=text)
        elif self._halted:
            self._report(ts_ns, taken, REJECTED, out, text=f"trading is halted since risk epoch {self._epoch}")
        else:
            self._report(ts_ns, taken, NEW, out, leaves=taken.quantity)
            self._working.setdefault(order.symbol, []).append(taken)

    def _take_fence(self, ts_ns: int, fence: RiskFence, out: list[Record]) -> None:
        self._epoch = max(self._epoch, fence.epoch)
        self._halted = fence.state == HALTED
        if not self._halted:
            return
        everything = sorted((order for orders in self._working.values() for order in orders), key=lambda o: o.seq)
        for order in everything:
            self._report(ts_ns, order, CANCELED, out, text=f"halted by risk epoch {fence.epoch}: {fence.reason}")
        self._working.clear()

    def _meet_bar(self, ts_ns: int, orders: list[WorkingOrder], bar: Bar, out: list[Record]) -> None:
        resting = [order for order in orders if self._stays(ts_ns, order, bar, out)]
        if resting:
            self._working[bar.symbol] = resting
        else:
            del self._working[bar.symbol]

    def _stays(self, ts_ns: int, order: WorkingOrder, bar: Bar, out: list[Record]) -> bool:
        """Let one order meet one bar. True while it goes on working."""
        if not order.day:
            order.day = bar.trading_day
        elif order.time_in_force == DAY and bar.trading_day > order.day:
            self._report(ts_ns, order, EXPIRED, out, text=f"day order of {order.day}")
            return False
        if not bar.traded:
            return True
        price = self._fill_price(order, bar)
        if price is None:
            order.rests = True
            return True
        self._fill(ts_ns, order, bar, price, out)
        return False

    def _fill_price(self, order: WorkingOrder, bar: Bar) -> Decimal | None:
        """What the order trades at within the bar, or None."""
        buying = order.side == BUY
        opened = to_decimal(bar.open)
        if order.order_type == MARKET:
            return self._slipped(opened, buying)
        limit = order.limit_price
        assert limit is not None, f"{order.order_id}: a limit order without a limit passed risk"
        if opened <= limit if buying else opened >= limit:
            if order.rests:
                return opened
            price = self._slipped(opened, buying)
            return min(price, limit) if buying else max(price, limit)
        touched = to_decimal(bar.low) <= limit if buying else to_decimal(bar.high) >= limit
        return limit if touched else None

    def _slipped(self, price: Decimal, buying: bool) -> Decimal:
        slipped = multiply(price, self._slip[buying])
        tick = self.settings.tick_size
        if tick is None:
            return slipped
        ticks = (slipped / tick).to_integral_value(ROUND_CEILING if buying else ROUND_FLOOR)
        return quantize(max(ticks, ONE) * tick)

    def _fill(self, ts_ns: int, order: WorkingOrder, bar: Bar, price: Decimal, out: list[Record]) -> None:
        quantity = order.quantity - order.cum_quantity
        order.cum_quantity += quantity
        # What the order owes in all so far, less what earlier fills paid: the minimum counts once.
        owed = max(multiply(self.settings.fee_per_share, order.cum_quantity), self.settings.fee_min)
        fee, order.fees = owed - order.fees, owed
        order.state = follow(order.state, OrderEvent.FILL, order_id=order.order_id)
        self._seq += 1
        out.append(
            Execution(
                self._seq,
                ts_ns,
                execution_id(self._seq),
                order.order_id,
                order.symbol,
                order.side,
                TRADE,
                quantity,
                price,
                quantize(fee),
                ZERO,
                order.cum_quantity,
                bar.open_ns,
                bar.seq,
                "",
            )
        )

    def _report(
        self,
        ts_ns: int,
        order: WorkingOrder,
        exec_type: str,
        out: list[Record],
        *,
        leaves: Decimal = ZERO,
        text: str = "",
    ) -> None:
        """A report that moves no money: acknowledged, cancelled, expired, rejected."""
        order.state = follow(order.state, _EVENT[exec_type], order_id=order.order_id)
        self._seq += 1
        out.append(
            Execution(
                self._seq,
                ts_ns,
                execution_id(self._seq),
                order.order_id,
                order.symbol,
                order.side,
                exec_type,
                ZERO,
                ZERO,
                ZERO,
                leaves,
                order.cum_quantity,
                ts_ns,
                0,
                text,
            )
        )

    def snapshot(self) -> Any:
        orders = [order.plain() for working in self._working.values() for order in working]
        return (SNAPSHOT_VERSION, self._seq, self._epoch, self._halted, orders)

    def restore(self, snapshot: Any) -> None:
        version, self._seq, self._epoch, self._halted, orders = snapshot
        assert version == SNAPSHOT_VERSION, f"venue snapshot: version {version} is not known, not {SNAPSHOT_VERSION}"
        self._working = {}
        for arguments in orders:
            order = WorkingOrder(*arguments)
            self._working.setdefault(order.symbol, []).append(order)
