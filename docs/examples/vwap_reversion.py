"""Buy below the session's volume-weighted average price (VWAP), and sell when the price has returned to it."""

from operators.strategies import TradingStrategy, at


class VwapReversion(TradingStrategy):
    """Buy half a percent below the VWAP after the first half hour; sell at the VWAP, or before the close."""

    symbols = ("SPY",)
    features = ("vwap",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            vwap, price = ctx.feature(symbol, "vwap"), ctx.price(symbol)
            if vwap is None or not 30 <= ctx.session.minutes_since_open < 380:
                continue
            if not ctx.position(symbol) and price < vwap * 0.995:
                ctx.target_weight(symbol, 0.5)
            elif ctx.position(symbol) and price >= vwap:
                ctx.close(symbol)

    @at(minutes_before_close=10)
    def flatten(self, ctx):
        for symbol in ctx.universe:
            ctx.close(symbol)
