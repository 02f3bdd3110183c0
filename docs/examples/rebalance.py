"""Hold several symbols at fixed weights, and trade back to them once a day."""

from operators.strategies import TradingStrategy, at


class Rebalance(TradingStrategy):
    """Trade back to the target weights five minutes after the open, where a weight is off by more than a percent."""

    weights = (("SPY", 0.6), ("TLT", 0.3), ("GLD", 0.1))
    symbols = tuple(symbol for symbol, _ in weights)

    @at(minutes_after_open=5)
    def rebalance(self, ctx):
        for name, target in self.weights:
            symbol = ctx.current(name)  # the present name, also after a symbol change; None after a delisting
            price = symbol and ctx.price(symbol)
            if price is None:
                continue
            weight = ctx.position(symbol) * price / ctx.equity
            if abs(weight - target) > 0.01:
                ctx.target_weight(symbol, target)
