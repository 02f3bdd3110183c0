"""Follow the market with a limit order: amend its price until it fills."""

from operators.strategies import TradingStrategy


class FollowingLimit(TradingStrategy):
    """Bid 10 cents below the last close. Raise the bid when the market has moved away by more than 20 cents."""

    symbols = ("SPY",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            price, orders = ctx.price(symbol), ctx.orders(symbol)
            if not orders and not ctx.position(symbol):
                ctx.submit(symbol, "BUY", 100, limit_price=round(price - 0.10, 2), time_in_force="GTC")
            for order in orders:
                if order.status == "accepted" and price - order.limit_price > 0.20:
                    ctx.amend(order.id, limit_price=round(price - 0.10, 2))
