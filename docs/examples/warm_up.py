"""Wait until there is enough history: nothing trades before the declared number of bars."""

from operators.strategies import TradingStrategy


class WarmUp(TradingStrategy):
    """Hold while the close is above the mean of 50 bars. The platform rejects targets during the warm-up."""

    symbols = ("SPY",)
    history = {"1m": 50}
    warm_up = 50

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            above = ctx.price(symbol) > ctx.history(symbol)["close"].mean()
            if above != bool(ctx.state.get("above")):
                ctx.state["above"] = bool(above)
                ctx.target_weight(symbol, 0.9 if above else 0)

    def on_order(self, ctx, update):
        if update.check == "warm_up":
            ctx.state["above"] = False  # the target was rejected; try again
