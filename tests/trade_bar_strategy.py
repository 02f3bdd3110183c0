"""A trading strategy on bars of trades, for tests of replays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.strategies import TradingStrategy

if TYPE_CHECKING:
    from operators.trading.context import TradingContext


class TradeBarStrategy(TradingStrategy):
    """Hold what is above its average over bars of volume, and trade each reversal of its bricks."""

    bar_source = "trades"
    features = {"900v": ("sma_3",), "heikin_ashi_7t": ("ema_2",)}  # noqa: RUF012
    history = {"renko_0.02": 2, "2e4d": 3}  # noqa: RUF012

    def on_slice(self, ctx: TradingContext) -> None:
        for symbol in ctx.closed("900v"):
            bar, average = ctx.bar(symbol, "900v"), ctx.feature(symbol, "sma_3", "900v")
            ctx.note(f"{symbol} {bar} {ctx.feature(symbol, 'ema_2', 'heikin_ashi_7t')}")
            if bar is not None and average is not None:
                ctx.target_weight(symbol, 0.1 if bar.close > average else 0.0)
        for symbol in ctx.closed("renko_0.02"):
            closes = ctx.history(symbol, "renko_0.02")["close"]
            amounts = ctx.history(symbol, "2e4d")["volume"]
            if len(closes) == 2 and len(amounts) == 3:
                ctx.submit(symbol, "BUY" if closes[1] > closes[0] else "SELL", int(amounts.sum()) % 7 + 1)
