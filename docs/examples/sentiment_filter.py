"""Use the news as a filter: enter by price, but not against bad news, and leave when bad news arrives."""

from operators.strategies import TradingStrategy


class SentimentFilter(TradingStrategy):
    """Hold above the average of ten bars, unless the last headline of the past hour is clearly negative."""

    symbols = ("AAPL",)
    features = ("sma_10",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            average, score = ctx.feature(symbol, "sma_10"), ctx.sentiment(symbol)
            if average is None:
                continue
            recent = score is not None and ctx.time - score.ts_ns < 3600 * 10**9
            bad_news = recent and score.score * score.confidence < -0.3
            rising = ctx.price(symbol) > average
            if ctx.position(symbol) and (bad_news or not rising):
                ctx.close(symbol, tag="news" if bad_news else "price")
            elif not ctx.position(symbol) and rising and not bad_news:
                ctx.target_weight(symbol, 0.5)
