"""Trade the forecasts of a registered model."""

from operators.strategies import TradingStrategy


class Forecast(TradingStrategy):
    """Hold while the newest forecast expects more than 0.2 percent with a probability above 55 percent."""

    symbols = ("SPY",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            forecast = ctx.prediction(symbol)
            if forecast is None or forecast.drift > 0.9:  # the inputs no longer resemble the training data
                continue
            buy = forecast.expected_return > 0.002 and forecast.probability_up > 0.55
            if buy and not ctx.position(symbol):
                ctx.target_weight(symbol, 0.5, tag=forecast.model)
            elif not buy and ctx.position(symbol):
                ctx.close(symbol, tag=forecast.model)
