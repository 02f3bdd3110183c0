"""Use the news as a filter: enter by price, but not against bad news, and leave when bad news arrives."""

from operators.strategies import TradingStrategy


class SentimentFilter(TradingStrategy):
    """Hold above the average of ten bars, unless the last headline of the past hour is clearly negative."""

    symbols = ("AAPL",)
    features = ("sma_10",)

    def on_slice(self, ctx):
        average, score = ctx.feature("AAPL", "sma_10"), ctx.sentiment("AAPL")
        if average is None:
            return
        recent = score is not None and ctx.time - score.ts_ns < 3600 * 10**9
        bad_news = recent and score.score * score.confidence < -0.3
        rising = ctx.price("AAPL") > average
        if ctx.position("AAPL") and (bad_news or not rising):
            ctx.close("AAPL", tag="news" if bad_news else "price")
        elif not ctx.position("AAPL") and rising and not bad_news:
            ctx.target_weight("AAPL", 0.5)
