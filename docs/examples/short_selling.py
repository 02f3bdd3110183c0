"""Sell short below an average, and cover at a stop above the entry price."""

from operators.strategies import TradingStrategy


class ShortSelling(TradingStrategy):
    """Short below the average of ten minutes; cover 2 percent higher, or when the price is above the average again."""

    symbols = ("SPY",)
    features = ("sma_10",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            average, price = ctx.feature(symbol, "sma_10"), ctx.price(symbol)
            if average is None:
                continue
            if ctx.position(symbol) < 0 and price > average:
                ctx.close(symbol)
            elif not ctx.position(symbol) and not ctx.orders(symbol) and price < average:
                ctx.submit(symbol, "SELL", 100, stop_loss=round(price * 1.02, 2))
