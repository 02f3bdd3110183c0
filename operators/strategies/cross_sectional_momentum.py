"""Hold the strongest symbols of the universe, and select them anew each month."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_bars, check_count, check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy, at
from schemas.errors import BadInput

if TYPE_CHECKING:
    from operators.trading.context import TradingContext


class CrossSectionalMomentum(TradingStrategy):
    """Hold the `top` symbols with the highest return of the last `lookback` days without the last `skip` days.

    The selection is made in the first session of each month, five minutes after the open, from the closes of the days
    before; the first one, as soon as there are enough days. Each selected symbol has an equal share of `weight`. The
    state is the month of the last selection. Never short.
    Source: N. Jegadeesh and S. Titman, Returns to Buying Winners and Selling Losers (1993).
    """

    def __init__(
        self,
        *,
        lookback: int = 252,
        skip: int = 21,
        top: int = 3,
        weight: float = 0.95,
        symbols: Sequence[str] | None = None,
        name: str = "cross_sectional_momentum",
    ) -> None:
        """`lookback` and `skip` in days, `top` in symbols, `weight` in (0, 1] of the equity. Raises BadInput."""
        check_bars(name, lookback=lookback)
        check_count(name, top=top)
        check_share(name, weight=weight)
        if type(skip) is not int or not 0 <= skip < lookback:
            raise BadInput(f"strategy {name}: skip must be a whole number of days below lookback, found {skip!r}")
        self.name, self.symbols = name, universe_of(symbols)
        self.lookback, self.skip, self.top, self.weight = lookback, skip, top, weight
        self.history = {"1d": lookback + 1}
        self.warm_up = lookback + 1

    @at(minutes_after_open=5)
    def select(self, ctx: TradingContext) -> None:
        session = ctx.session
        if session is None or session.day // 100 == ctx.state.get("month"):
            return
        returns = {symbol: self._momentum(ctx, symbol) for symbol in ctx.universe}
        ranked = sorted((-value, symbol) for symbol, value in returns.items() if value is not None)
        if len(ranked) < self.top:
            return  # in warm-up
        ctx.state["month"] = session.day // 100
        selected = {symbol for _, symbol in ranked[: self.top]}
        for symbol in ctx.universe:
            if symbol in selected:
                ctx.target_weight(symbol, self.weight / self.top)
            elif ctx.position(symbol):
                ctx.close(symbol)

    def _momentum(self, ctx: TradingContext, symbol: str) -> float | None:
        """Return the return from `lookback` to `skip` days ago as a share; None if there are too few days."""
        closes = ctx.history(symbol, "1d")["close"]
        if len(closes) <= self.lookback:
            return None
        return float(closes[-1 - self.skip] / closes[-1 - self.lookback]) - 1
