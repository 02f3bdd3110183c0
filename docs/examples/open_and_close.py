"""Trade in the auctions: sell at the close (MOC), and buy back at the next open (MOO)."""

from operators.strategies import TradingStrategy, at


class OpenAndClose(TradingStrategy):
    """Hold during the session only, from its opening price to its closing price."""

    symbols = ("SPY",)

    @at(minutes_before_close=10)
    def place(self, ctx):
        for symbol in ctx.universe:
            if ctx.position(symbol) > 0:
                ctx.submit(symbol, "SELL", ctx.position(symbol), time_in_force="CLS", tag="at the close")
            ctx.submit(symbol, "BUY", 100, time_in_force="OPG", tag="at the open")
