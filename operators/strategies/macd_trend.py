"""Follow a trend: hold a symbol while its MACD line is above the signal line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_bars, check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy

if TYPE_CHECKING:
    from operators.trading.context import TradingContext
    from operators.trading.order_updates import OrderUpdate


class MacdTrend(TradingStrategy):
    """Long while the MACD line is above its signal line, otherwise flat, or short with `short=True`.

    Each symbol of the universe has an equal share of `weight`. The state of a symbol has its `side`: 1, 0 or -1.
    Source: G. Appel, Technical Analysis: Power Tools for Active Investors (2005).
    """

    def __init__(
        self,
        *,
        fast: int = 12,
        slow: int = 26,
        signal: int = 9,
        interval: str = "1d",
        weight: float = 0.95,
        short: bool = False,
        symbols: Sequence[str] | None = None,
        name: str = "macd_trend",
    ) -> None:
        """`fast`, `slow`, `signal` in bars of `interval`; `weight` in (0, 1] of the equity. Raises BadInput."""
        check_bars(name, fast=fast, slow=slow, signal=signal)
        check_share(name, weight=weight)
        self.name, self.symbols = name, universe_of(symbols)
        self.interval, self.weight, self.short = interval, weight, short
        self.macd = f"macd_{fast}_{slow}_{signal}"
        self.features = {interval: (self.macd,)}
        self.warm_up = slow + signal - 1

    def on_slice(self, ctx: TradingContext) -> None:
        for symbol in ctx.closed(self.interval):
            line = ctx.feature(symbol, self.macd, self.interval)
            signal = ctx.feature(symbol, f"{self.macd}_signal", self.interval)
            if line is None or signal is None:
                continue
            side = 1 if line > signal else -1 if self.short else 0
            state = ctx.state_of(symbol)
            if side != state.get("side", 0):
                state["side"] = side
                ctx.target_weight(symbol, side * self.weight / len(ctx.universe))

    def on_order(self, ctx: TradingContext, update: OrderUpdate) -> None:
        if update.request == "target" and update.status == "rejected":
            ctx.state_of(update.symbol).clear()  # the next bar tries again
