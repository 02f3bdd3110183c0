"""Let one order trigger another one (OTO): the exit waits for the fill of the entry."""

from operators.strategies import TradingStrategy, at


class OneTriggersOther(TradingStrategy):
    """Buy at a limit one percent below the market, and sell the shares one percent above it."""

    symbols = ("SPY",)

    @at(minutes_after_open=1)
    def place(self, ctx):
        for symbol in ctx.universe:
            price = ctx.price(symbol)
            entry = ctx.submit(symbol, "BUY", 100, limit_price=round(price * 0.99, 2))
            ctx.submit(symbol, "SELL", 100, limit_price=round(price * 1.01, 2), time_in_force="GTC", parent=entry)
