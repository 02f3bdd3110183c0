"""Protect a position that fills in parts: one stop order whose quantity follows the fills."""

from operators.strategies import TradingStrategy


class PartialFills(TradingStrategy):
    """Buy 1,000 shares in a thin market. The stop order always covers what has been bought so far."""

    symbols = ("SPY",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            if not ctx.state.get("entered"):
                ctx.state["entered"] = True
                ctx.submit(symbol, "BUY", 1_000, time_in_force="GTC", tag="entry")

    def on_fill(self, ctx, fill):
        if fill.tag != "entry":
            return
        if "stop" not in ctx.state:
            stop = round(fill.price * 0.98, 2)
            ctx.state["stop"] = ctx.submit(fill.symbol, "SELL", fill.quantity, stop_price=stop, time_in_force="GTC")
        else:
            ctx.amend(ctx.state["stop"], quantity=ctx.position(fill.symbol))
        ctx.note(f"{ctx.position(fill.symbol):g} bought, {fill.remaining:g} remaining")
