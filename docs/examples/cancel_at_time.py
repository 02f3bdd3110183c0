"""Cancel an order that has not filled by a time of day, and buy the rest at the market."""

from operators.strategies import TradingStrategy, at


class CancelAtTime(TradingStrategy):
    """Bid half a percent below the first price. At 11:00, buy the rest at the market."""

    symbols = ("SPY",)

    @at(minutes_after_open=1)
    def bid(self, ctx):
        for symbol in ctx.universe:
            ctx.submit(symbol, "BUY", 100, limit_price=round(ctx.price(symbol) * 0.995, 2), tag="bid")

    @at("11:00")
    def cancel_bid(self, ctx):
        for symbol in ctx.universe:
            ctx.cancel(symbol)

    def on_order(self, ctx, update):
        symbol = ctx.current(update.symbol)  # a symbol change or delisting cancels the bid, too
        if symbol and update.tag == "bid" and update.status == "cancelled" and update.filled < 100:
            ctx.submit(symbol, "BUY", 100 - update.filled, tag="rest")
