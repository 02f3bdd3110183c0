"""Keep state across sessions: `ctx.state` survives the night and every restart."""

from operators.strategies import TradingStrategy, at


class AcrossSessions(TradingStrategy):
    """Buy before the close after three falling days in a row; sell before the close of the first rising day."""

    symbols = ("SPY",)

    @at(minutes_before_close=2)
    def decide(self, ctx):
        for symbol in ctx.universe:
            price, last = ctx.price(symbol), ctx.state.get("last")
            ctx.state["last"] = price
            if last is None:
                continue
            falls = ctx.state["falls"] = ctx.state.get("falls", 0) + 1 if price < last else 0
            if falls == 3:
                ctx.target_weight(symbol, 0.9)
            elif falls == 0 and ctx.position(symbol):
                ctx.close(symbol)
