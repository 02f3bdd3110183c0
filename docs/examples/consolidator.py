"""Combine the bars of the feed to longer ones (a consolidator), and act when a longer bar closes."""

from operators.strategies import TradingStrategy


class Consolidator(TradingStrategy):
    """Buy after three rising bars of 15 minutes in a row; sell after one falling bar."""

    symbols = ("SPY",)
    history = {"15m": 3}

    def on_slice(self, ctx):
        for symbol in ctx.closed("15m"):
            bars = ctx.history(symbol, "15m")
            rises = bars["close"] > bars["open"]
            if len(rises) == 3 and rises.all() and not ctx.position(symbol):
                ctx.target_weight(symbol, 0.9)
            elif not rises[-1] and ctx.position(symbol):
                ctx.close(symbol)
