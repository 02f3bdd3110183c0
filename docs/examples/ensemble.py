"""Combine several indicators: each one has a vote, and the majority decides."""

from operators.strategies import TradingStrategy


class Ensemble(TradingStrategy):
    """Hold while at least two of three indicators are positive: trend, momentum and MACD."""

    symbols = ("SPY",)
    features = ("sma_20", "roc_10", "macd_12_26_9")

    def on_slice(self, ctx):
        average, momentum = ctx.feature("SPY", "sma_20"), ctx.feature("SPY", "roc_10")
        histogram = ctx.feature("SPY", "macd_12_26_9_histogram")
        if average is None or momentum is None or histogram is None:
            return
        votes = (ctx.price("SPY") > average) + (momentum > 0) + (histogram > 0)
        if votes >= 2 and not ctx.position("SPY"):
            ctx.target_weight("SPY", 0.9, tag=f"{votes} of 3")
        elif votes < 2 and ctx.position("SPY"):
            ctx.close("SPY", tag=f"{votes} of 3")
