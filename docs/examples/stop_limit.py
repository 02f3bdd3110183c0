"""Enter a breakout with a stop-limit order, which does not pay more than its limit after a gap."""

from operators.strategies import TradingStrategy, at


class StopLimit(TradingStrategy):
    """Buy when the price rises above yesterday's high, but not more than 0.2 percent above it."""

    symbols = ("SPY",)
    features = ("prior_day",)

    @at(minutes_after_open=1)
    def place(self, ctx):
        for symbol in ctx.universe:
            high = ctx.feature(symbol, "prior_day_high")
            if high is not None and ctx.price(symbol) <= high:
                ctx.submit(symbol, "BUY", 100, stop_price=round(high + 0.01, 2), limit_price=round(high * 1.002, 2))

    @at(minutes_before_close=5)
    def flatten(self, ctx):
        for symbol in ctx.universe:
            ctx.close(symbol)
