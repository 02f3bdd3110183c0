"""Hold the strongest of several assets while it beats a safe one, and the safe one otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_bars, check_share
from operators.strategies.trading_strategy import TradingStrategy, at
from schemas.errors import BadInput

if TYPE_CHECKING:
    from operators.trading.context import TradingContext


class DualMomentum(TradingStrategy):
    """Once a month, hold the asset of `risky` with the highest return of `lookback` days if it is above that of `safe`.

    Otherwise hold `safe`. Relative momentum selects the asset, absolute momentum avoids bear markets. The choice is
    made in the first session of each month, five minutes after the open; the first one, as soon as there are enough
    days. The state is the month of the last choice and the asset that the strategy holds.
    Source: G. Antonacci, Dual Momentum Investing (2014).
    """

    def __init__(
        self,
        *,
        risky: Sequence[str] = ("SPY", "EFA"),
        safe: str = "AGG",
        lookback: int = 252,
        weight: float = 0.95,
        name: str = "dual_momentum",
    ) -> None:
        """`risky` and `safe` are symbols, `lookback` in days, `weight` in (0, 1] of the equity. Raises BadInput."""
        check_bars(name, lookback=lookback)
        check_share(name, weight=weight)
        if not isinstance(risky, list | tuple) or not risky or safe in risky:
            raise BadInput(f"strategy {name}: risky must be a list of symbols without {safe!r}, found {risky!r}")
        self.name, self.symbols = name, (*risky, safe)
        self.risky, self.safe, self.lookback, self.weight = tuple(risky), safe, lookback, weight
        self.history = {"1d": lookback + 1}
        self.warm_up = lookback + 1

    @at(minutes_after_open=5)
    def choose(self, ctx: TradingContext) -> None:
        session = ctx.session
        if session is None or session.day // 100 == ctx.state.get("month"):
            return
        closes = {symbol: ctx.history(symbol, "1d")["close"] for symbol in ctx.universe}
        if not closes or any(len(one) <= self.lookback for one in closes.values()):
            return  # in warm-up, or all delisted
        ctx.state["month"] = session.day // 100
        returns = {symbol: float(one[-1] / one[0]) - 1 for symbol, one in closes.items()}
        # The present names, without delisted ones; of equal returns, the first wins.
        present = [name for one in (self.safe, *self.risky) if (name := ctx.current(one)) is not None]
        choice, held = max(present, key=lambda symbol: returns[symbol]), ctx.state.get("asset")
        if held is not None and choice == ctx.current(held):
            return
        ctx.state["asset"] = choice
        for symbol in ctx.universe:
            if symbol == choice:
                ctx.target_weight(symbol, self.weight)
            elif ctx.position(symbol):
                ctx.close(symbol)
