"""Two strategies that raise once, for the fault `strategy`. The settings load them by the path of this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from operators.strategies import TargetView, TradingStrategy

if TYPE_CHECKING:
    from operators.trading.context import TradingContext

WINDOW_NS: Final = 60 * 10**9
_HOLD_BARS = 7


class RaisingStrategy:
    """Long and flat in turn, `_HOLD_BARS` bars each; raises on all bars of the minute from `raises_ns` on.

    The state is the number of bars.
    """

    features: tuple[str, ...] = ()

    def __init__(self, *, raises_ns: int, name: str) -> None:
        self.name, self._raises_ns = name, raises_ns

    def decide(self, row: Any, state: Any) -> tuple[Any, TargetView | None]:
        bars = (state or 0) + 1
        if self._raises_ns <= row.ts_ns < self._raises_ns + WINDOW_NS:
            raise ZeroDivisionError("the fault of the test")
        if bars % _HOLD_BARS:
            return bars, None
        direction = bars // _HOLD_BARS % 2
        return bars, TargetView(direction, float(direction), 0.5, {"bars": float(bars)})


class RaisingTradingStrategy(TradingStrategy):
    """Holds two units of one symbol and none in turn, `_HOLD_BARS` slices each; raises like `RaisingStrategy`.

    The state counts the time slices.
    """

    def __init__(self, *, raises_ns: int, name: str) -> None:
        self.name, self._raises_ns = name, raises_ns

    def on_slice(self, ctx: TradingContext) -> None:
        ctx.state["slices"] = slices = ctx.state.get("slices", 0) + 1
        if self._raises_ns <= ctx.time < self._raises_ns + WINDOW_NS:
            raise ZeroDivisionError("the fault of the test")
        if slices % _HOLD_BARS == 0:
            ctx.target_quantity(ctx.universe[0], 2 * (slices // _HOLD_BARS % 2))
