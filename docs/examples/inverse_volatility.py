"""Weight symbols in inverse proportion to their volatility, so that each one contributes a similar risk."""

from operators.strategies import TradingStrategy, at


class InverseVolatility(TradingStrategy):
    """Compute the weights from 20 daily closes, once a day before the close."""

    symbols = ("GLD", "SPY", "TLT")
    history = {"1d": 21}

    @at(minutes_before_close=15)
    def rebalance(self, ctx):
        inverse = {}
        for symbol in ctx.universe:
            closes = ctx.history(symbol, "1d")["close"]
            if len(closes) < 21:
                return
            inverse[symbol] = 1 / (closes[1:] / closes[:-1] - 1).std()
        for symbol, value in inverse.items():
            ctx.target_weight(symbol, 0.95 * value / sum(inverse.values()))
