"""Trade the breakout of the opening range with a bracket: an entry with a take-profit and a stop-loss order."""

from operators.strategies import TradingStrategy, at


class OpeningRange(TradingStrategy):
    """Buy at a stop above the high of the first 15 minutes; risk the range, and aim at twice the range."""

    symbols = ("SPY",)
    history = {"1m": 15}

    @at(minutes_after_open=15)
    def place(self, ctx):
        for symbol in ctx.universe:
            bars = ctx.history(symbol)
            high, low = bars["high"].max(), bars["low"].min()
            width = high - low
            if len(bars["high"]) == 15 and width > 0:
                ctx.submit(
                    symbol,
                    "BUY",
                    100,
                    stop_price=round(high + 0.01, 2),
                    take_profit=round(high + 2 * width, 2),
                    stop_loss=round(low, 2),
                )

    @at(minutes_before_close=5)
    def flatten(self, ctx):
        for symbol in ctx.universe:
            ctx.close(symbol)
