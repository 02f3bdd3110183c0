"""Trade the breakout of the opening range with a bracket, and close before the end of the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_count, check_positive, check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy, at

if TYPE_CHECKING:
    from operators.trading.context import TradingContext


class OpeningRangeBreakout(TradingStrategy):
    """Buy at a stop order one tick above the high of the first minutes of the session, once a day.

    The stop loss is at the low of the range, the take profit at `reward` times the width of the range above the entry.
    A loss at the stop costs `risk` of the equity; the position is at most an equal share of `weight`. Five minutes
    before the close, the strategy cancels its orders and closes its positions. The state of a symbol has its last
    `day`.
    Source: T. Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout (1990).
    """

    def __init__(
        self,
        *,
        minutes: int = 15,
        reward: float = 2.0,
        risk: float = 0.01,
        weight: float = 0.95,
        tick: float = 0.01,
        symbols: Sequence[str] | None = None,
        name: str = "opening_range_breakout",
    ) -> None:
        """`minutes` of the range, `reward` in widths of the range, `risk` and `weight` in (0, 1] of the equity.

        `tick` is the smallest price change, in the price's unit. Raises BadInput for another value.
        """
        check_count(name, minutes=minutes)
        check_positive(name, reward=reward, tick=tick)
        check_share(name, risk=risk, weight=weight)
        self.name, self.symbols = name, universe_of(symbols)
        self.reward, self.risk, self.weight, self.tick = reward, risk, weight, tick
        self.range = f"opening_range_{minutes}"
        self.features = (self.range,)

    def on_slice(self, ctx: TradingContext) -> None:
        session = ctx.session
        if session is None or session.phase != "REGULAR":
            return
        if session.minutes_to_close is not None and session.minutes_to_close <= 5:
            return
        for symbol in ctx.closed():
            high, low = ctx.feature(symbol, f"{self.range}_high"), ctx.feature(symbol, f"{self.range}_low")
            state = ctx.state_of(symbol)
            if high is None or low is None or high <= low or state.get("day") == session.day:
                continue
            state["day"] = session.day
            self._place(ctx, symbol, high, low)

    def _place(self, ctx: TradingContext, symbol: str, high: float, low: float) -> None:
        entry = self._price(high + self.tick)
        loss = entry - low
        by_risk, by_weight = self.risk * ctx.equity / loss, self.weight * ctx.equity / len(ctx.universe) / entry
        quantity = min(by_risk, by_weight) // 1
        if quantity >= 1:
            profit = self._price(entry + self.reward * (high - low))
            ctx.submit(symbol, "BUY", quantity, stop_price=entry, take_profit=profit, stop_loss=self._price(low))

    def _price(self, price: float) -> float:
        """Round a price to the tick."""
        return round(round(price / self.tick) * self.tick, 8)

    @at(minutes_before_close=5)
    def flatten(self, ctx: TradingContext) -> None:
        for symbol in ctx.universe:
            if ctx.position(symbol) or ctx.orders(symbol):
                ctx.close(symbol)
