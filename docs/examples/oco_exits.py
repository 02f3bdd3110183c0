"""Leave a position by a limit or by a stop: the order that fills first cancels the other one (OCO)."""

from operators.strategies import TradingStrategy


class OcoExits(TradingStrategy):
    """Buy once. Two orders of one group then protect the position: a profit of 4 percent, or a loss of 2 percent."""

    symbols = ("SPY",)

    def on_slice(self, ctx):
        if not ctx.state.get("entered"):
            ctx.state["entered"] = True
            ctx.submit("SPY", "BUY", 100, tag="entry")

    def on_fill(self, ctx, fill):
        if fill.tag == "entry":
            terms = {"group": "exit", "time_in_force": "GTC", "reduce_only": True}
            ctx.submit("SPY", "SELL", fill.quantity, limit_price=round(fill.price * 1.04, 2), tag="profit", **terms)
            ctx.submit("SPY", "SELL", fill.quantity, stop_price=round(fill.price * 0.98, 2), tag="loss", **terms)
