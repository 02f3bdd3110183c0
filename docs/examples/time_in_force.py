"""Choose how long an order works: immediate or cancel, fill or kill, until a time, for the day, until cancelled."""

from operators.strategies import TradingStrategy

MINUTE_NS = 60 * 10**9


class TimeInForce(TradingStrategy):
    """Send the same limit order with each time in force, and note how each one ends."""

    symbols = ("SPY",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            if ctx.state.get("sent"):
                continue
            ctx.state["sent"] = True
            limit = round(ctx.price(symbol) * 0.99, 2)
            for time_in_force in ("IOC", "FOK", "DAY", "GTC"):
                ctx.submit(symbol, "BUY", 10, limit_price=limit, time_in_force=time_in_force, tag=time_in_force)
            ctx.submit(
                symbol, "BUY", 10, limit_price=limit, time_in_force="GTD", expires=ctx.time + 5 * MINUTE_NS, tag="GTD"
            )

    def on_order(self, ctx, update):
        if update.status in ("cancelled", "expired"):
            ctx.note(f"{update.tag} {update.status}")
