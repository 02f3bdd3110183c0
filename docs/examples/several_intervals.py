"""Use several intervals: the trend of hours decides the side, and minutes decide the time of the entry."""

from operators.strategies import TradingStrategy


class SeveralIntervals(TradingStrategy):
    """While the hourly close is above its average, buy when the RSI of the minute bars is below 30; sell above 70."""

    symbols = ("SPY",)
    features = {"1m": ("rsi_14",), "1h": ("sma_4",)}

    def on_slice(self, ctx):
        hour, average, rsi = ctx.bar("SPY", "1h"), ctx.feature("SPY", "sma_4", "1h"), ctx.feature("SPY", "rsi_14")
        if hour is None or average is None or rsi is None:
            return
        if not ctx.position("SPY") and hour.close > average and rsi < 30:
            ctx.target_weight("SPY", 0.5)
        elif ctx.position("SPY") and rsi > 70:
            ctx.close("SPY")
