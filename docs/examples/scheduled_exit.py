"""Hold a position during the session only: enter after the open, and close at 15:55."""

from operators.strategies import TradingStrategy, at


class Intraday(TradingStrategy):
    """Long from one minute after the open until 15:55, or five minutes before an early close."""

    symbols = ("SPY",)

    @at(minutes_after_open=1)
    def enter(self, ctx):
        for symbol in ctx.universe:
            ctx.target_weight(symbol, 0.5, tag="open")

    @at("15:55", calendar="XNYS")
    def flatten(self, ctx):
        for symbol in ctx.universe:
            ctx.close(symbol, tag="close")

    @at(minutes_before_close=5)
    def flatten_early(self, ctx):
        for symbol in ctx.universe:
            if ctx.session.early_close:
                ctx.close(symbol, tag="early close")
