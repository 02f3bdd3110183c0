"""A trading strategy that uses every kind of action. The settings load it by its path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from operators.strategies import TradingStrategy, at, every

if TYPE_CHECKING:
    from operators.strategies.trading_strategy import StrategyEvent
    from operators.trading.context import TradingContext
    from operators.trading.order_updates import Fill, OrderUpdate

_CYCLE_SLICES = 24
_UNITS = 3
_UNITS_ABOVE_LIMITS = 1_000_000


class OrderStrategy(TradingStrategy):
    """Works through brackets, stops, limits, amendments, cancels, groups and targets, one symbol after the other.

    It does not try to earn money. The state counts time slices, fills and rejections, and has the ids of the orders
    that it changes later.
    """

    features = ("sma_5",)
    history: Mapping[str, int] = {"5m": 3}

    def on_slice(self, ctx: TradingContext) -> None:
        count = ctx.state.get("slices", 0)
        ctx.state["slices"] = count + 1
        if count == 0:
            ctx.note("first time slice")
        cycle, step = divmod(count, _CYCLE_SLICES)
        symbol = ctx.universe[cycle % len(ctx.universe)]
        price, average = ctx.price(symbol), ctx.feature(symbol, "sma_5")
        if price is None or average is None:
            return
        if step == 0:
            profit, stop = round(price * 1.003, 2), round(price * 0.997, 2)
            ctx.submit(symbol, "BUY", _UNITS, take_profit=profit, stop_loss=stop, tag="bracket")
        elif step == 3:
            limit = round(min(price, average) * 0.99, 2)
            ctx.state["resting"] = ctx.submit(
                symbol, "BUY", _UNITS, limit_price=limit, time_in_force="GTC", tag="resting"
            )
        elif step == 6:
            self._amend(ctx, price)
        elif step == 9:
            group = f"breakout-{cycle}"
            ctx.submit(symbol, "BUY", 1, limit_price=round(price * 0.999, 2), group=group, tag="dip")
            ctx.submit(symbol, "BUY", 1, stop_price=round(price * 1.001, 2), group=group, tag="breakout")
        elif step == 12:
            ctx.submit(symbol, "BUY", _UNITS_ABOVE_LIMITS, tag="too large")
        elif step == 15:
            ctx.submit(symbol, "BUY", 1, limit_price=round(price * 1.001, 2), time_in_force="IOC", tag="immediate")
        elif step == 18 and ctx.position(symbol) >= 1:
            ctx.cancel(symbol)
            ctx.submit(symbol, "SELL", 1, trail_percent=0.2, reduce_only=True, tag="trail")
        elif step == 21:
            ctx.cancel(tag="end of the cycle")

    def _amend(self, ctx: TradingContext, price: float) -> None:
        order_id = ctx.state.pop("resting", None)
        if order_id in [order.id for order in ctx.orders()]:
            ctx.amend(order_id, quantity=_UNITS + 1, limit_price=round(price * 0.998, 2))

    def on_fill(self, ctx: TradingContext, fill: Fill) -> None:
        ctx.state["fills"] = ctx.state.get("fills", 0) + 1
        if fill.tag == "immediate":
            stop = round(fill.price * 0.995, 2)
            ctx.submit(fill.symbol, "SELL", fill.quantity, stop_price=stop, reduce_only=True, tag="stop after a fill")

    def on_order(self, ctx: TradingContext, update: OrderUpdate) -> None:
        if update.status == "rejected":
            ctx.state["rejections"] = ctx.state.get("rejections", 0) + 1
            ctx.note(f"{update.tag or update.request}: {update.check}")

    def on_event(self, ctx: TradingContext, event: StrategyEvent) -> None:
        subject = getattr(event, "symbol", "several symbols")  # a headline has none
        ctx.note(f"{event.kind} of {subject}")

    @every("20m")
    def rotate(self, ctx: TradingContext) -> None:
        turn = ctx.state.get("turns", 0)
        ctx.state["turns"] = turn + 1
        held, weighted, viewed = (ctx.universe[(turn + number) % len(ctx.universe)] for number in range(3))
        bars = ctx.history(held, "5m")["close"]
        rises = len(bars) == 3 and bars[-1] > bars[0]
        ctx.target_quantity(held, 4 if rises else 0, tag="quantity")
        ctx.target_weight(weighted, 0.02 if turn % 2 else 0.0, tag="weight")
        ctx.target_view(viewed, turn % 2, 0.3, tag="view")

    @at(minutes_after_open=12)
    def start(self, ctx: TradingContext) -> None:
        ctx.target_weight(ctx.universe[-1], 0.02, tag="start")

    @at("15:30", calendar="XNYS")
    def end(self, ctx: TradingContext) -> None:
        for symbol in ctx.universe[:4]:
            ctx.close(symbol, tag="end")
