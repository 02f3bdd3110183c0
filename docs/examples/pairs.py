"""Trade the ratio of two shares that move together."""

from operators.strategies import TradingStrategy, at


class Pairs(TradingStrategy):
    """Buy the cheap one of two shares and sell the expensive one short when their ratio is stretched."""

    symbols = ("KO", "PEP")
    history = {"1m": 60}
    warm_up = 60

    def __init__(self, *, entry: float = 2.0, weight: float = 0.4, name: str = "pairs") -> None:
        self.name, self.entry, self.weight = name, entry, weight

    def on_slice(self, ctx):
        if len(ctx.symbols) < 2:
            return  # one of them was delisted
        first, second = ctx.symbols  # the declared ones, under their present names
        closes = ctx.history(first)["close"], ctx.history(second)["close"]
        if min(map(len, closes)) < 60 or (ratio := closes[0] / closes[1]).std() == 0:
            return
        z_score = (ratio[-1] - ratio.mean()) / ratio.std()
        side = ctx.state.get("side", 0)
        if side == 0 and abs(z_score) > self.entry:
            side = -1 if z_score > 0 else 1  # the ratio is too high: the first share is the expensive one
        elif side * z_score >= 0:
            side = 0  # the ratio has crossed its mean
        if side != ctx.state.get("side", 0):
            ctx.state["side"] = side
            ctx.target_weight(first, side * self.weight)
            ctx.target_weight(second, -side * self.weight)

    @at("15:55", calendar="XNYS")
    def flatten(self, ctx):
        ctx.state["side"] = 0
        for symbol in ctx.symbols:
            ctx.close(symbol)
