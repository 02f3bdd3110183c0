"""Trade the return to the mean: buy below the lower Bollinger band in an oversold market."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_bars, check_positive, check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy
from schemas.errors import BadInput

if TYPE_CHECKING:
    from operators.trading.context import TradingContext
    from operators.trading.order_updates import OrderUpdate


class BollingerReversion(TradingStrategy):
    """Buy at a close below the lower band with an RSI below `rsi_max`; sell at a close at or above the middle band.

    Each symbol of the universe has an equal share of `weight`. The state of a symbol has `entered` while the strategy
    holds it. Never short. Sources: J. Bollinger, Bollinger on Bollinger Bands (2001); J. W. Wilder, New Concepts in
    Technical Trading Systems (1978).
    """

    def __init__(
        self,
        *,
        period: int = 20,
        width: float = 2.0,
        rsi_period: int = 14,
        rsi_max: float = 35.0,
        interval: str = "1d",
        weight: float = 0.95,
        symbols: Sequence[str] | None = None,
        name: str = "bollinger_reversion",
    ) -> None:
        """Periods in bars of `interval`, `width` in standard deviations, `rsi_max` in (0, 100], `weight` in (0, 1].

        Raises BadInput for another value.
        """
        check_bars(name, period=period, rsi_period=rsi_period)
        check_positive(name, width=width, rsi_max=rsi_max)
        check_share(name, weight=weight)
        if rsi_max > 100:
            raise BadInput(f"strategy {name}: rsi_max must be in (0, 100], found {rsi_max!r}")
        self.name, self.symbols = name, universe_of(symbols)
        self.interval, self.weight, self.rsi_max = interval, weight, rsi_max
        self.bands, self.rsi = f"bollinger_{period}_{width:g}", f"rsi_{rsi_period}"
        self.features = {interval: (self.bands, self.rsi)}
        self.warm_up = max(period, rsi_period + 1)

    def on_slice(self, ctx: TradingContext) -> None:
        for symbol in ctx.closed(self.interval):
            close = ctx.price(symbol)
            lower = ctx.feature(symbol, f"{self.bands}_lower", self.interval)
            middle = ctx.feature(symbol, f"{self.bands}_middle", self.interval)
            rsi = ctx.feature(symbol, self.rsi, self.interval)
            if close is None or lower is None or middle is None or rsi is None:
                continue
            state = ctx.state_of(symbol)
            if not state and close < lower and rsi < self.rsi_max:
                state["entered"] = True
                ctx.target_weight(symbol, self.weight / len(ctx.universe))
            elif state and close >= middle:
                state.clear()
                ctx.close(symbol)

    def on_order(self, ctx: TradingContext, update: OrderUpdate) -> None:
        if update.request == "target" and update.status == "rejected" and not ctx.position(update.symbol):
            ctx.state_of(update.symbol).clear()  # the entry failed; the next signal tries again
