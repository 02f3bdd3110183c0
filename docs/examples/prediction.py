"""Trade the forecasts of a registered model."""

from operators.strategies import TradingStrategy


class Forecast(TradingStrategy):
    """Hold while the newest forecast expects more than 0.2 percent with a probability above 55 percent."""

    symbols = ("SPY",)

    def on_slice(self, ctx):
        forecast = ctx.prediction("SPY")
        if forecast is None or forecast.drift > 0.9:  # the inputs no longer resemble the training data
            return
        buy = forecast.expected_return > 0.002 and forecast.probability_up > 0.55
        if buy and not ctx.position("SPY"):
            ctx.target_weight("SPY", 0.5, tag=forecast.model)
        elif not buy and ctx.position("SPY"):
            ctx.close("SPY", tag=forecast.model)
