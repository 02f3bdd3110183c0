"""Reinvest dividends: buy more shares with what a cash dividend pays."""

from operators.strategies import TradingStrategy


class Dividend(TradingStrategy):
    """Buy 500 shares, and reinvest each cash dividend on the day on which it is paid."""

    symbols = ("KO",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            if not ctx.state.get("entered"):
                ctx.state["entered"] = True
                ctx.submit(symbol, "BUY", 500)

    def on_event(self, ctx, event):
        if event.kind == "CASH_DIVIDEND":
            shares = ctx.position(event.symbol) * float(event.amount) // ctx.price(event.symbol)
            if shares >= 1:
                ctx.submit(event.symbol, "BUY", shares, tag="reinvested")
