"""A trading strategy that acts on quotes, headlines, sentiment scores, filings and halts, for tests of replays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.strategies import TradingStrategy

if TYPE_CHECKING:
    from operators.trading.context import TradingContext


class Informed(TradingStrategy):
    """Buy at the ask after good news, sell at the bid after bad news, and hold less after a filing."""

    events = ("quotes", "news", "sentiment", "filings")

    def on_event(self, ctx: TradingContext, event: Any) -> None:
        if event.kind == "QUOTE":
            ctx.state["quotes"] = ctx.state.get("quotes", 0) + 1
        elif event.kind == "NEWS":
            ctx.note(f"{event.news_id} after {ctx.state.get('quotes', 0)} quotes")
        elif event.kind.startswith("TRADING_"):
            ctx.note(f"{event.kind} {event.symbol} {ctx.is_halted(event.symbol)}")
        elif event.kind == "FILING":
            ctx.target_weight(event.symbol, 0.01)
        elif event.kind == "SENTIMENT":
            self._trade(ctx, event)

    def _trade(self, ctx: TradingContext, event: Any) -> None:
        quote = ctx.quote(event.symbol)
        if quote is None:
            return
        if event.score > 0:
            ctx.submit(event.symbol, "BUY", 5, limit_price=quote.ask, time_in_force="GTC")
        elif ctx.position(event.symbol) > 0:
            ctx.submit(event.symbol, "SELL", 5, limit_price=quote.bid, time_in_force="GTC")
