"""React to a rejection: an order that is too large is sent again with half of its quantity."""

from operators.strategies import TradingStrategy


class RejectedOrder(TradingStrategy):
    """Buy 1,000 shares, or as many as the limits of risk allow."""

    symbols = ("SPY",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            if "quantity" not in ctx.state:
                ctx.state["quantity"] = 1_000
                ctx.submit(symbol, "BUY", 1_000)

    def on_order(self, ctx, update):
        if update.status == "rejected" and ctx.state["quantity"] >= 2:
            ctx.note(f"{update.check}: limit {update.limit}, found {update.value}")
            ctx.state["quantity"] //= 2
            ctx.submit(update.symbol, "BUY", ctx.state["quantity"])
