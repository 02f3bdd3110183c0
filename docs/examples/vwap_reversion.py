"""Buy below the session's volume-weighted average price (VWAP), and sell when the price has returned to it."""

from operators.strategies import TradingStrategy, at


class VwapReversion(TradingStrategy):
    """Buy half a percent below the VWAP after the first half hour; sell at the VWAP, or before the close."""

    symbols = ("SPY",)
    features = ("vwap",)

    def on_slice(self, ctx):
        vwap, price = ctx.feature("SPY", "vwap"), ctx.price("SPY")
        if vwap is None or not 30 <= ctx.session.minutes_since_open < 380:
            return
        if not ctx.position("SPY") and price < vwap * 0.995:
            ctx.target_weight("SPY", 0.5)
        elif ctx.position("SPY") and price >= vwap:
            ctx.close("SPY")

    @at(minutes_before_close=10)
    def flatten(self, ctx):
        ctx.close("SPY")
