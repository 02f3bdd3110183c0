"""Trading strategies with universes that change daily and data of the user, for tests of replays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.strategies import TopDollarVolume, TradingStrategy

if TYPE_CHECKING:
    from operators.trading.context import TradingContext


class Rotating(TradingStrategy):
    """Hold the selected symbols while the index of fear is low."""

    universe = TopDollarVolume(count=2, min_history=1, days=1, every="1d")
    data = ("vix",)

    def on_event(self, ctx: TradingContext, event: Any) -> None:
        if event.kind == "UNIVERSE_REMOVED":
            ctx.close(event.symbol)
        elif event.kind == "UNIVERSE_ADDED":
            ctx.target_weight(event.symbol, 0.03)
        elif event.kind == "DATA":
            weight = 0.01 if event.values["close"] > 20 else 0.03
            for symbol in ctx.universe:
                ctx.target_weight(symbol, weight)
        else:
            ctx.note(f"{event.kind} {event.state}")


class Listed(TradingStrategy):
    """Hold the members of the file that the settings name."""

    def on_event(self, ctx: TradingContext, event: Any) -> None:
        if event.kind == "UNIVERSE_REMOVED":
            ctx.close(event.symbol)
        elif event.kind == "UNIVERSE_ADDED":
            ctx.target_weight(event.symbol, 0.02)
