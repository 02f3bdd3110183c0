"""A trading strategy for measurements: it sends one order that does not fill for each bar of its first symbol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.strategies import TradingStrategy

if TYPE_CHECKING:
    from operators.trading.context import TradingContext

SYMBOL = "S0000"


class BarOrders(TradingStrategy):
    """Buy one share 5 % below the market with each bar, until a hundred orders work."""

    symbols = (SYMBOL,)

    def on_slice(self, ctx: TradingContext) -> None:
        price = ctx.price(SYMBOL)
        if price is not None and len(ctx.orders()) < 100:
            ctx.submit(SYMBOL, "BUY", 1, limit_price=round(price * 0.95, 2))
