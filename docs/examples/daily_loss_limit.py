"""Stop for the day after a loss: close the position, and trade again in the next session."""

from operators.strategies import TradingStrategy


class DailyLossLimit(TradingStrategy):
    """Follow the average of five minutes. After a loss of one percent of the equity, stay flat until tomorrow."""

    symbols = ("SPY",)
    features = ("sma_5",)

    def on_slice(self, ctx):
        for symbol in ctx.closed():
            state, day = ctx.state, ctx.session.day
            if state.get("day") != day:
                state.update(day=day, equity=ctx.equity, stopped=False)
            average = ctx.feature(symbol, "sma_5")
            if average is None or state["stopped"]:
                continue
            if ctx.equity < state["equity"] * 0.99:
                state["stopped"] = True
                ctx.close(symbol, tag="daily loss")
            elif ctx.price(symbol) > average and not ctx.position(symbol):
                ctx.target_weight(symbol, 0.9)
            elif ctx.price(symbol) < average and ctx.position(symbol):
                ctx.close(symbol)
