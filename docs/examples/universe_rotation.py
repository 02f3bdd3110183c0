"""Hold the strongest symbols of a universe, and select them again every week (universe rotation)."""

from operators.strategies import TradingStrategy, at


class Rotation(TradingStrategy):
    """On the first session of a week, share 90 percent of the equity between the two best performers of 20 days."""

    symbols = ("DIA", "EEM", "EFA", "GLD", "IWM", "QQQ", "SPY", "TLT")
    features = {"1d": ("roc_20",)}

    def __init__(self, *, count: int = 2, weight: float = 0.9) -> None:
        self.count, self.weight = count, weight

    @at(minutes_after_open=5)
    def rotate(self, ctx):
        week = (ctx.time // (24 * 3600 * 10**9) + 3) // 7  # 1 January 1970 was a Thursday
        changes = {symbol: ctx.feature(symbol, "roc_20", "1d") for symbol in ctx.universe}
        known = [symbol for symbol, change in changes.items() if change is not None]
        if ctx.state.get("week") == week or len(known) < self.count:
            return
        ctx.state["week"] = week
        chosen = sorted(known, key=lambda symbol: (-changes[symbol], symbol))[: self.count]
        for symbol in ctx.universe:
            if symbol in chosen:
                ctx.target_weight(symbol, self.weight / self.count)
            elif ctx.position(symbol):
                ctx.close(symbol)
