"""Explain each decision: tags and notes appear in `explain` and in the table of the actions."""

from operators.strategies import TradingStrategy


class Explained(TradingStrategy):
    """Buy an oversold market. The tag gives the reason for an order, a note the reason for no order."""

    symbols = ("SPY",)
    features = ("rsi_14", "sma_60")

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            rsi, average, price = ctx.feature(symbol, "rsi_14"), ctx.feature(symbol, "sma_60"), ctx.price(symbol)
            if rsi is None or average is None or ctx.position(symbol) or rsi >= 30:
                continue
            if price < average * 0.97:
                ctx.note(f"no purchase: {price:.2f} is more than 3 percent below the average {average:.2f}")
            else:
                ctx.target_weight(symbol, 0.5, tag=f"RSI {rsi:.1f}")
