"""Submit orders again that a symbol change has cancelled."""

from operators.strategies import TradingStrategy


class RenamedOrders(TradingStrategy):
    """Hold 100 shares with a stop order five percent below the entry, also under a new symbol."""

    symbols = ("FB",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            state = ctx.state_of(symbol)
            if not state:
                state["entered"] = True
                ctx.submit(symbol, "BUY", 100)

    def on_fill(self, ctx, fill):
        if fill.side == "BUY":
            self.place_stop(ctx, fill.symbol, fill.quantity, round(fill.price * 0.95, 2))

    def on_event(self, ctx, event):
        if event.kind == "SYMBOL_CHANGE":
            for order in ctx.orders(event.symbol):  # they are cancelled in this time slice
                if order.tag == "stop":
                    self.place_stop(ctx, event.new_symbol, order.remaining, order.stop_price)

    def place_stop(self, ctx, symbol, quantity, price):
        ctx.submit(symbol, "SELL", quantity, stop_price=price, time_in_force="GTC", reduce_only=True, tag="stop")

    def on_order(self, ctx, update):
        if update.status == "cancelled":
            ctx.note(update.reason)
