"""Leave by rules in the style of freqtrade: stop loss, trailing stop with an offset, return-on-investment table."""

from operators.strategies import TradingStrategy


class ExitRules(TradingStrategy):
    """Buy once, with both exits attached. Each bar moves the exits for the next bar.

    `roi` contains pairs: minutes since the entry, and the return at which the position is sold from then on. Once the
    highest price is the share `trail_offset` above the entry, the stop follows it at the distance `trail`, a share.
    """

    symbols = ("SPY",)

    def __init__(self, *, stop_loss=0.05, trail=0.01, trail_offset=0.02, roi=((0, 0.04), (10, 0.02), (20, 0.0))):
        self.stop_loss, self.trail, self.trail_offset, self.roi = stop_loss, trail, trail_offset, roi

    def on_slice(self, ctx):
        symbol = ctx.current("SPY")
        if not ctx.state:
            price = ctx.price(symbol)
            exits = (round(price * (1 + self.roi[0][1]), 2), round(price * (1 - self.stop_loss), 2))
            ctx.state["order"] = ctx.submit(symbol, "BUY", 100, take_profit=exits[0], stop_loss=exits[1])
        elif ctx.position(symbol):
            self.move_exits(ctx, symbol, ctx.entry_price(symbol))

    def on_fill(self, ctx, fill):
        ctx.state.setdefault("best", fill.price)
        ctx.state.setdefault("entry_time", fill.time)

    def move_exits(self, ctx, symbol, entry):
        best = ctx.state["best"] = max(ctx.state["best"], ctx.bar(symbol).high)
        trailing = best * (1 - self.trail) if best >= entry * (1 + self.trail_offset) else 0
        stop = round(max(entry * (1 - self.stop_loss), trailing), 2)
        minutes = (ctx.time - ctx.state["entry_time"]) // (60 * 10**9)
        target = round(entry * (1 + [enough for after, enough in self.roi if after <= minutes][-1]), 2)
        if stop >= ctx.price(symbol):
            return ctx.close(symbol, tag="stop")  # the bar has already fallen through the new stop
        ctx.amend(ctx.state["order"] + "-tp", limit_price=target)
        ctx.amend(ctx.state["order"] + "-sl", stop_price=stop)
