"""Select shares by the figures of their last filing: cheap ones by price to earnings."""

from operators.strategies import TradingStrategy, at


class PriceToEarnings(TradingStrategy):
    """Hold the shares whose price is below 15 times the earnings per share, with equal weights; decide once a day."""

    symbols = ("AAPL", "KO", "XOM")

    @at(minutes_after_open=30)
    def select(self, ctx):
        for symbol in ctx.universe:
            filing, price = ctx.fundamentals(symbol), ctx.price(symbol)
            earnings = filing.facts.get("eps", 0) if filing else 0
            cheap = earnings > 0 and price is not None and price / earnings < 15
            if cheap and not ctx.position(symbol):
                ctx.target_weight(symbol, 0.3, tag=f"price to earnings {price / earnings:.1f}")
            elif not cheap and ctx.position(symbol):
                ctx.close(symbol)
