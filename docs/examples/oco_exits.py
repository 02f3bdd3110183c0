"""Leave a position by a limit or by a stop: the order that fills first cancels the other one (OCO)."""

from operators.strategies import TradingStrategy


class OcoExits(TradingStrategy):
    """Buy once. Two orders of one group then protect the position: a profit of 4 percent, or a loss of 2 percent."""

    symbols = ("SPY",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            if not ctx.state.get("entered"):
                ctx.state["entered"] = True
                ctx.submit(symbol, "BUY", 100, tag="entry")

    def on_fill(self, ctx, fill):
        if fill.tag == "entry":
            terms = {"group": "exit", "time_in_force": "GTC", "reduce_only": True}
            symbol, profit, loss = fill.symbol, round(fill.price * 1.04, 2), round(fill.price * 0.98, 2)
            ctx.submit(symbol, "SELL", fill.quantity, limit_price=profit, tag="profit", **terms)
            ctx.submit(symbol, "SELL", fill.quantity, stop_price=loss, tag="loss", **terms)
