"""Trade against the gap between yesterday's close and today's open."""

from operators.strategies import TradingStrategy, at


class GapFade(TradingStrategy):
    """Buy a minute after the open if the price is over one percent below yesterday's close, which is the target."""

    symbols = ("SPY",)
    features = ("prior_day",)

    @at(minutes_after_open=1)
    def enter(self, ctx):
        for symbol in ctx.universe:
            close, price = ctx.feature(symbol, "prior_day_close"), ctx.price(symbol)
            if close is not None and price < close * 0.99:
                ctx.submit(symbol, "BUY", 100, take_profit=round(close, 2), stop_loss=round(price * 0.98, 2))

    @at("12:00")
    def leave(self, ctx):
        for symbol in ctx.universe:
            ctx.close(symbol)
