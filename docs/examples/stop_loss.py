"""Buy once, and protect the position with a stop order as soon as the purchase is filled."""

from operators.strategies import TradingStrategy


class StopLoss(TradingStrategy):
    """Buy with half of the equity; sell at a stop `loss_percent` below the price paid."""

    symbols = ("SPY",)

    def __init__(self, *, loss_percent: float = 2.0) -> None:
        self.loss_percent = loss_percent

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            if not ctx.state.get("entered"):
                ctx.state["entered"] = True
                price = ctx.price(symbol)
                ctx.submit(symbol, "BUY", ctx.equity * 0.5 // price, tag="entry")

    def on_fill(self, ctx, fill):
        if fill.tag == "entry":
            stop = round(fill.price * (1 - self.loss_percent / 100), 2)
            ctx.submit(fill.symbol, "SELL", fill.quantity, stop_price=stop, time_in_force="GTC", tag="stop")

    def on_order(self, ctx, update):
        symbol = ctx.current(update.symbol)  # a symbol change cancels the stop order
        if symbol and update.tag == "stop" and update.status in ("rejected", "expired", "cancelled"):
            ctx.close(symbol, tag="unprotected")
