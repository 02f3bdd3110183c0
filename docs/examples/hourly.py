"""Act at fixed intervals: buy a little every hour of the session, and report at noon and before the close."""

from operators.strategies import TradingStrategy, at, every


class Hourly(TradingStrategy):
    """Buy ten shares every hour, and note the position twice a day. A handler can run at several times."""

    symbols = ("SPY",)

    @every("1h")
    def buy(self, ctx):
        for symbol in ctx.universe:
            ctx.submit(symbol, "BUY", 10)

    @at("12:00")
    @at(minutes_before_close=1)
    def report(self, ctx):
        for symbol in ctx.universe:
            ctx.note(f"{ctx.position(symbol):g} shares, equity {ctx.equity:.2f}")
