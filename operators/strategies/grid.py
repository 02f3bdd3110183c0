"""Trade a grid: buy at limits below the market, and sell each purchase one step higher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_count, check_positive, check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy
from schemas.errors import BadInput

if TYPE_CHECKING:
    from operators.trading.context import TradingContext
    from operators.trading.order_updates import Fill


class Grid(TradingStrategy):
    """Place `levels` buy limits below the first price of a symbol, each one `step` lower than the one before.

    Each purchase is offered one step above its price. When it is sold, the strategy buys it again one step below. The
    orders are good till cancelled. A grid earns in a market without a trend; in a falling market it holds all levels.
    Never short. The state is 1 for each symbol with a grid. Source: common practice; there is no single publication.
    """

    def __init__(
        self,
        *,
        levels: int = 5,
        step: float = 0.01,
        weight: float = 0.95,
        tick: float = 0.01,
        symbols: Sequence[str] | None = None,
        name: str = "grid",
    ) -> None:
        """`levels` per symbol, `step` as a share of the price, `weight` in (0, 1] of the equity for all levels.

        `tick` is the smallest price change, in the price's unit. Raises BadInput for another value.
        """
        check_count(name, levels=levels)
        check_positive(name, step=step, tick=tick)
        check_share(name, weight=weight)
        if levels * step >= 1:
            raise BadInput(f"strategy {name}: levels times step must be below 1, found {levels} and {step!r}")
        self.name, self.symbols = name, universe_of(symbols)
        self.levels, self.step, self.weight, self.tick = levels, step, weight, tick

    def on_slice(self, ctx: TradingContext) -> None:
        for symbol in ctx.closed():
            price = ctx.price(symbol)
            if symbol in ctx.state or price is None:
                continue
            ctx.state[symbol] = 1
            amount = self.weight * ctx.equity / len(ctx.universe) / self.levels
            for level in range(1, self.levels + 1):
                limit = self._price(price * (1 - level * self.step))
                if amount >= limit:
                    ctx.submit(symbol, "BUY", amount // limit, limit_price=limit, time_in_force="GTC")

    def on_fill(self, ctx: TradingContext, fill: Fill) -> None:
        if fill.side == "BUY":
            limit = self._price(fill.price * (1 + self.step))
            ctx.submit(fill.symbol, "SELL", fill.quantity, limit_price=limit, time_in_force="GTC", reduce_only=True)
        else:
            limit = self._price(fill.price / (1 + self.step))
            ctx.submit(fill.symbol, "BUY", fill.quantity, limit_price=limit, time_in_force="GTC")

    def _price(self, price: float) -> float:
        """Round a price to the tick."""
        return round(round(price / self.tick) * self.tick, 8)
