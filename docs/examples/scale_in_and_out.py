"""Buy a position in three parts as the price falls, and sell it in three parts as it rises."""

from operators.strategies import TradingStrategy


class ScaleInAndOut(TradingStrategy):
    """Bid at 1, 2 and 3 percent below the first price. Offer each part two percent above its cost."""

    symbols = ("SPY",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            if ctx.state.get("placed"):
                continue
            ctx.state["placed"] = True
            for percent in (1, 2, 3):
                limit = round(ctx.price(symbol) * (1 - percent / 100), 2)
                ctx.submit(symbol, "BUY", 100, limit_price=limit, time_in_force="GTC", tag=f"part {percent}")

    def on_fill(self, ctx, fill):
        if fill.side == "BUY":
            limit = round(fill.price * 1.02, 2)
            ctx.submit(fill.symbol, "SELL", fill.quantity, limit_price=limit, time_in_force="GTC", tag=fill.tag)
