"""Hold symbols overnight only, or during the session only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy, at
from schemas.errors import BadInput

if TYPE_CHECKING:
    from operators.trading.context import TradingContext

OVERNIGHT, INTRADAY = "overnight", "intraday"


class OvernightIntraday(TradingStrategy):
    """Long from five minutes before the close until one minute after the next open, or the other way round.

    Comparing both runs shows in which part of the day a symbol earns its return. Each symbol of the universe has an
    equal share of `weight`.
    Source: M. Cooper, M. Cliff and H. Gulen, Return Differences between Trading and Non-Trading Hours (2008).
    """

    def __init__(
        self,
        *,
        hold: str = OVERNIGHT,
        weight: float = 0.95,
        symbols: Sequence[str] | None = None,
        name: str = "overnight_intraday",
    ) -> None:
        """`hold` is `overnight` or `intraday`; `weight` in (0, 1] of the equity. Raises BadInput for another value."""
        if hold not in (OVERNIGHT, INTRADAY):
            raise BadInput(f"strategy {name}: hold must be {OVERNIGHT} or {INTRADAY}, found {hold!r}")
        check_share(name, weight=weight)
        self.name, self.symbols = name, universe_of(symbols)
        self.hold, self.weight = hold, weight

    @at(minutes_after_open=1)
    def after_open(self, ctx: TradingContext) -> None:
        self._hold(ctx, self.hold == INTRADAY)

    @at(minutes_before_close=5)
    def before_close(self, ctx: TradingContext) -> None:
        self._hold(ctx, self.hold == OVERNIGHT)

    def _hold(self, ctx: TradingContext, invested: bool) -> None:
        for symbol in ctx.universe:
            if ctx.price(symbol) is None:
                continue
            if invested:
                ctx.target_weight(symbol, self.weight / len(ctx.universe))
            elif ctx.position(symbol):
                ctx.close(symbol)
