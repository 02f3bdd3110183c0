"""Follow a trend: hold a symbol while several moving averages are in the order of their periods."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_bars, check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy
from schemas.errors import BadInput

if TYPE_CHECKING:
    from operators.trading.context import TradingContext
    from operators.trading.order_updates import OrderUpdate


class MovingAverageRibbon(TradingStrategy):
    """Buy when each average is above the next longer one; sell when the shortest is below the longest.

    The averages are exponential. Each symbol of the universe has an equal share of `weight`. The state of a symbol has
    `entered` while the strategy holds it. Never short. Source: D. Guppy, Trend Trading (2004), multiple moving
    averages.
    """

    def __init__(
        self,
        *,
        periods: Sequence[int] = (10, 20, 30, 40, 50, 60),
        interval: str = "1d",
        weight: float = 0.95,
        symbols: Sequence[str] | None = None,
        name: str = "moving_average_ribbon",
    ) -> None:
        """`periods` in bars of `interval`, rising; `weight` in (0, 1] of the equity. Raises BadInput."""
        if not isinstance(periods, list | tuple) or len(periods) < 2:
            raise BadInput(f"strategy {name}: periods must be at least two numbers of bars, found {periods!r}")
        for period in periods:
            check_bars(name, periods=period)
        if any(short >= long for short, long in pairwise(periods)):
            raise BadInput(f"strategy {name}: periods must rise, found {list(periods)}")
        check_share(name, weight=weight)
        self.name, self.symbols = name, universe_of(symbols)
        self.interval, self.weight = interval, weight
        self.averages = tuple(f"ema_{period}" for period in periods)
        self.features = {interval: self.averages}
        self.warm_up = periods[-1]

    def on_slice(self, ctx: TradingContext) -> None:
        for symbol in ctx.closed(self.interval):
            found = [ctx.feature(symbol, average, self.interval) for average in self.averages]
            averages = [value for value in found if value is not None]
            if len(averages) < len(found):
                continue
            state = ctx.state_of(symbol)
            if not state and all(short > long for short, long in pairwise(averages)):
                state["entered"] = True
                ctx.target_weight(symbol, self.weight / len(ctx.universe))
            elif state and averages[0] < averages[-1]:
                state.clear()
                ctx.close(symbol)

    def on_order(self, ctx: TradingContext, update: OrderUpdate) -> None:
        if update.request == "target" and update.status == "rejected" and not ctx.position(update.symbol):
            ctx.state_of(update.symbol).clear()  # the entry failed; the next bar tries again
