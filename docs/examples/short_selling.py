"""Sell short below an average, and cover at a stop above the entry price."""

from operators.strategies import TradingStrategy


class ShortSelling(TradingStrategy):
    """Short below the average of ten minutes; cover 2 percent higher, or when the price is above the average again."""

    symbols = ("SPY",)
    features = ("sma_10",)

    def on_slice(self, ctx):
        average, price = ctx.feature("SPY", "sma_10"), ctx.price("SPY")
        if average is None:
            return
        if ctx.position("SPY") < 0 and price > average:
            ctx.close("SPY")
        elif not ctx.position("SPY") and not ctx.orders("SPY") and price < average:
            ctx.submit("SPY", "SELL", 100, stop_loss=round(price * 1.02, 2))
