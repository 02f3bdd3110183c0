"""Trade a grid: buy at limits below the market, and sell each purchase one step higher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_bars, check_count, check_positive, check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy
from schemas.errors import BadInput
from schemas.records import RIGHTS, SPIN_OFF, SYMBOL_CHANGE, CorporateAction

if TYPE_CHECKING:
    from operators.strategies.trading_strategy import StrategyEvent
    from operators.trading.context import TradingContext
    from operators.trading.order_updates import Fill


class Grid(TradingStrategy):
    """Place `levels` buy limits below the price of a symbol, each one step lower than the one before.

    A step is `step_atr` average true ranges of the feed's bars, an hour or more after the open, when the grid starts.
    With `step`, it is this share of the price, and the grid starts at once. Each purchase is offered one step above its
    price. When it is sold, the strategy buys it again one step below. The orders are good till cancelled. After a
    symbol change or a distribution, which cancel them, a new grid starts; it offers the position one step above its
    average price. The state of a symbol with a grid has its `step`, as a share of the price. A grid earns in a market
    without a trend; in a falling market it holds all levels. Never short.
    Source: common practice; there is no single publication.
    """

    def __init__(
        self,
        *,
        levels: int = 5,
        step: float | None = None,
        step_atr: float = 5.0,
        atr: int = 20,
        weight: float = 0.95,
        tick: float = 0.01,
        symbols: Sequence[str] | None = None,
        name: str = "grid",
    ) -> None:
        """`levels` per symbol, `atr` in bars, `weight` in (0, 1] of the equity for all levels.

        `step` replaces `step_atr` and `atr`. `tick` is the smallest price change, in the price's unit. Raises BadInput
        for another value.
        """
        check_count(name, levels=levels)
        check_bars(name, atr=atr)
        check_positive(name, step_atr=step_atr, tick=tick)
        check_share(name, weight=weight)
        if step is not None:
            check_positive(name, step=step)
            if levels * step >= 1:
                raise BadInput(f"strategy {name}: levels times step must be below 1, found {levels} and {step!r}")
        self.name, self.symbols = name, universe_of(symbols)
        self.levels, self.step, self.step_atr, self.weight, self.tick = levels, step, step_atr, weight, tick
        self.atr = f"atr_{atr}"
        self.features = (self.atr,) if step is None else ()

    def on_slice(self, ctx: TradingContext) -> None:
        for symbol in ctx.closed():
            state, price = ctx.state_of(symbol), ctx.price(symbol)
            if state or not price:
                continue
            step = self.step or self._step_of_range(ctx, symbol, price)
            if step is not None:
                state["step"] = step
                self._start(ctx, symbol, price, step)

    def _step_of_range(self, ctx: TradingContext, symbol: str, price: float) -> float | None:
        """Return the step as a share of the price; None without an average range of the session."""
        session, average_range = ctx.session, ctx.feature(symbol, self.atr)
        if session is None or session.phase not in ("REGULAR", "CONTINUOUS") or not average_range:
            return None
        return max(self.step_atr * average_range, self.tick) / price if session.minutes_since_open >= 60 else None

    def _start(self, ctx: TradingContext, symbol: str, price: float, step: float) -> None:
        ctx.cancel(symbol)  # orders from before a resume
        amount = self.weight * ctx.equity / len(ctx.universe) / self.levels
        if amount <= 0:
            return
        position, entry = ctx.position(symbol), ctx.entry_price(symbol)
        if position > 0 and entry is not None:
            self._sell(ctx, symbol, position, entry, step)
        for level in range(1, self.levels + 1 - round(position * price / amount)):
            limit = self._price(price * (1 - level * step))
            if amount >= limit > 0:
                ctx.submit(symbol, "BUY", amount // limit, limit_price=limit, time_in_force="GTC")

    def on_fill(self, ctx: TradingContext, fill: Fill) -> None:
        step = ctx.state_of(fill.symbol).get("step")
        if step is None:
            return  # of an order from before a new grid, which includes the position
        if fill.side == "BUY":
            self._sell(ctx, fill.symbol, fill.quantity, fill.price, step)
        else:
            limit = self._price(fill.price / (1 + step))
            ctx.submit(fill.symbol, "BUY", fill.quantity, limit_price=limit, time_in_force="GTC")

    def _sell(self, ctx: TradingContext, symbol: str, quantity: float, price: float, step: float) -> None:
        """Offer units one step above the price at which they were bought."""
        limit = self._price(price * (1 + step))
        ctx.submit(symbol, "SELL", quantity, limit_price=limit, time_in_force="GTC", reduce_only=True)

    def on_event(self, ctx: TradingContext, event: StrategyEvent) -> None:
        if isinstance(event, CorporateAction) and event.kind in (SYMBOL_CHANGE, SPIN_OFF, RIGHTS):
            ctx.state_of(event.symbol).clear()

    def _price(self, price: float) -> float:
        """Round a price to the tick."""
        return round(round(price / self.tick) * self.tick, 8)
