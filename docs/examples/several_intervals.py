"""Use several intervals: the trend of hours decides the side, and minutes decide the time of the entry."""

from operators.strategies import TradingStrategy


class SeveralIntervals(TradingStrategy):
    """While the hourly close is above its average, buy when the RSI of the minute bars is below 30; sell above 70."""

    symbols = ("SPY",)
    features = {"1m": ("rsi_14",), "1h": ("sma_4",)}

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            hour, average = ctx.bar(symbol, "1h"), ctx.feature(symbol, "sma_4", "1h")
            rsi = ctx.feature(symbol, "rsi_14")
            if hour is None or average is None or rsi is None:
                continue
            if not ctx.position(symbol) and hour.close > average and rsi < 30:
                ctx.target_weight(symbol, 0.5)
            elif ctx.position(symbol) and rsi > 70:
                ctx.close(symbol)
