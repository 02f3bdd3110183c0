"""A trading strategy that can act on the first bar only if its history was loaded."""

from __future__ import annotations

from typing import Any

from operators.strategies import TradingStrategy


class BuyOnFirstBar(TradingStrategy):
    """Buy when 40 bars of history and an average of five-minute bars are known."""

    symbols = ("AAA",)
    features = {"5m": ("sma_5",)}  # noqa: RUF012  (declared as strategies do)
    history = {"1m": 40}  # noqa: RUF012  (as above)
    warm_up = 40

    def __init__(self, name: str = "buy_on_first_bar") -> None:
        self.name = name

    def on_slice(self, ctx: Any) -> None:
        if len(ctx.history("AAA")["close"]) == 40 and ctx.feature("AAA", "sma_5", "5m") is not None and not ctx.state:
            ctx.state["bought"] = True
            ctx.target_weight("AAA", 0.05)
