"""React to a delisting: invest its payment in another symbol."""

from operators.strategies import TradingStrategy


class Delisting(TradingStrategy):
    """Hold two shares with equal weights. When one of them is delisted, the other one gets the whole weight."""

    symbols = ("NEW", "OLD")

    def on_slice(self, ctx):
        if not ctx.state.get("entered") and len(ctx.closed()) == 2:
            ctx.state["entered"] = True
            for symbol in ctx.universe:
                ctx.target_weight(symbol, 0.4)

    def on_event(self, ctx, event):
        if event.kind == "DELISTING":
            ctx.note(f"{event.symbol} is delisted at {event.amount:g} a share")
            for symbol in ctx.universe:  # without the delisted one
                ctx.target_weight(symbol, 0.8)
