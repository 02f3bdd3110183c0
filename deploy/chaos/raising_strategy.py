"""A strategy that raises once, for the fault `strategy`. The settings load it by its path."""

from __future__ import annotations

from typing import Any, Final

from operators.strategies import TargetView

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
