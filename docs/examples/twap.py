"""Buy a large quantity in equal parts over the session (TWAP)."""

from operators.strategies import TradingStrategy, every


class Twap(TradingStrategy):
    """Buy the same quantity every quarter of an hour until the total is reached."""

    symbols = ("SPY",)

    def __init__(self, *, total: int = 1_000, parts: int = 10) -> None:
        self.total, self.parts = total, parts

    @every("15m")
    def buy_part(self, ctx):
        for symbol in ctx.universe:
            remaining = self.total - ctx.position(symbol) - sum(order.remaining for order in ctx.orders(symbol))
            if remaining > 0:
                ctx.submit(symbol, "BUY", min(remaining, self.total // self.parts))
