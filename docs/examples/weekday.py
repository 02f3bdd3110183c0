"""Act on certain weekdays: hold from Monday after the open to Friday's close."""

from datetime import date

from operators.strategies import TradingStrategy, at


def weekday(day: int) -> int:
    """Return the weekday of a day as yyyymmdd: 0 is Monday."""
    return date(day // 10_000, day // 100 % 100, day % 100).weekday()


class Weekday(TradingStrategy):
    """Buy on Monday after the open, and sell on Friday at the close."""

    symbols = ("SPY",)

    @at(minutes_after_open=1)
    def enter(self, ctx):
        for symbol in ctx.universe:
            if weekday(ctx.session.day) == 0:
                ctx.target_weight(symbol, 0.9)

    @at(minutes_before_close=5)
    def leave(self, ctx):
        for symbol in ctx.universe:
            if weekday(ctx.session.day) == 4 and ctx.position(symbol):
                ctx.submit(symbol, "SELL", ctx.position(symbol), time_in_force="CLS")
