"""Follow a split: convert the prices in the state. The platform converts positions and orders."""

from operators.strategies import TradingStrategy


class Split(TradingStrategy):
    """Buy at the first bar, and sell ten percent above the price that was noted."""

    symbols = ("AAPL",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            price = ctx.price(symbol)
            if "noted" not in ctx.state:
                ctx.state["noted"] = price
                ctx.submit(symbol, "BUY", 100)
            elif ctx.position(symbol) and price > ctx.state["noted"] * 1.1:
                ctx.close(symbol)

    def on_event(self, ctx, event):
        if event.kind == "SPLIT":
            ctx.state["noted"] /= float(event.ratio)
            ctx.note(f"{event.symbol} split {event.ratio:g} for 1, now {ctx.position(event.symbol):g} shares")
