"""Combine several indicators: each one has a vote, and the majority decides."""

from operators.strategies import TradingStrategy


class Ensemble(TradingStrategy):
    """Hold while at least two of three indicators are positive: trend, momentum and MACD."""

    symbols = ("SPY",)
    features = ("sma_20", "roc_10", "macd_12_26_9")

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            average, momentum = ctx.feature(symbol, "sma_20"), ctx.feature(symbol, "roc_10")
            histogram = ctx.feature(symbol, "macd_12_26_9_histogram")
            if average is None or momentum is None or histogram is None:
                continue
            votes = (ctx.price(symbol) > average) + (momentum > 0) + (histogram > 0)
            if votes >= 2 and not ctx.position(symbol):
                ctx.target_weight(symbol, 0.9, tag=f"{votes} of 3")
            elif votes < 2 and ctx.position(symbol):
                ctx.close(symbol, tag=f"{votes} of 3")
