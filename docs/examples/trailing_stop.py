"""Follow a rising price with a trailing stop at the venue."""

from operators.strategies import TradingStrategy


class TrailingStop(TradingStrategy):
    """Buy above the average of five minutes; sell when the price falls `trail_percent` below its highest value."""

    symbols = ("SPY",)
    features = ("sma_5",)

    def __init__(self, *, trail_percent: float = 1.0) -> None:
        self.trail_percent = trail_percent

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            average, price = ctx.feature(symbol, "sma_5"), ctx.price(symbol)
            idle = not ctx.position(symbol) and not ctx.orders(symbol)
            if idle and average is not None and price > average:
                ctx.submit(symbol, "BUY", 100, tag="entry")

    def on_fill(self, ctx, fill):
        if fill.tag == "entry":
            terms = {"trail_percent": self.trail_percent, "time_in_force": "GTC"}
            ctx.submit(fill.symbol, "SELL", fill.quantity, **terms, tag="trail")
