"""A trading strategy that uses every kind of action, for tests that compare its decisions between ways to run it."""

from __future__ import annotations

from typing import Any

from operators.strategies import TradingStrategy, every


class EveryAction(TradingStrategy):
    """Places brackets and limits, amends and cancels them, and sets targets, on the first symbols of its universe."""

    features = {"1m": ("ema_3",), "5m": ("sma_2",)}  # noqa: RUF012  (declarations are never changed)
    history = {"1m": 5}  # noqa: RUF012  (never changed)

    def __init__(self, *, name: str = "every_action", offset: int = 0) -> None:
        self.name, self.offset = name, offset

    def on_slice(self, ctx: Any) -> None:
        count = ctx.state["slices"] = ctx.state.get("slices", self.offset) + 1
        symbols = sorted(ctx.universe)
        if len(symbols) < 4:
            return
        first, second, third, fourth = symbols[:4]
        bar = ctx.bar(first)
        if count % 20 == 3 and bar is not None:
            levels = {"take_profit": round(bar.close * 1.002, 2), "stop_loss": round(bar.close * 0.998, 2)}
            ctx.submit(first, "BUY", 20, tag="bracket", **levels)
        if count % 20 == 5 and bar is not None:
            limit = round(bar.close * 0.95, 2)
            ctx.state["limit"] = ctx.submit(first, "BUY", 10, limit_price=limit, time_in_force="GTC")
        if count % 20 == 8 and "limit" in ctx.state and bar is not None:
            ctx.amend(ctx.state["limit"], limit_price=round(bar.close * 0.96, 2))
        if count % 20 == 11 and "limit" in ctx.state:
            ctx.cancel(ctx.state.pop("limit"))
        row, hours = ctx.feature(second, "ema_3"), ctx.feature(second, "sma_2", "5m")
        if count % 7 == 0 and row is not None and hours is not None:
            ctx.target_weight(second, 0.03 if row > hours else 0.0)
        if count % 10 == 0:
            ctx.target_quantity(third, 25 if ctx.position(third) == 0 else 5)
        if count % 13 == 0:
            ctx.target_view(fourth, 1 if ctx.position(fourth) == 0 else 0)
        if count % 17 == 0:
            ctx.submit(first, "BUY", 10_000)  # beyond the limits of risk

    def on_fill(self, ctx: Any, fill: Any) -> None:
        ctx.state["filled"] = ctx.state.get("filled", 0) + fill.quantity
        ctx.note(f"{fill.side} {fill.quantity:g} {fill.symbol}, {ctx.position(fill.symbol):g} in total")

    def on_order(self, ctx: Any, update: Any) -> None:
        ctx.state["updates"] = ctx.state.get("updates", 0) + 1

    @every("30m")
    def close_first(self, ctx: Any) -> None:
        for symbol in sorted(ctx.universe)[:1]:
            ctx.close(symbol)
