"""A user's strategy that takes and leaves a position at given bars. The tests load it by its path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from operators.strategies import TargetView


@dataclass(frozen=True)
class ScheduledPosition:
    """`direction` from the bar number `enter` (from 1) of a symbol on, flat from the bar `leave` on (0: never).

    `only` is the symbol to trade, "" for all.
    """

    direction: int = 1
    enter: int = 1
    leave: int = 0
    only: str = ""
    name: str = "scheduled"
    features: tuple[str, ...] = ()

    def decide(self, row: Any, state: Any) -> tuple[Any, TargetView | None]:
        bars = (state or 0) + 1
        if self.only not in ("", row.symbol):
            return bars, None
        if bars == self.enter:
            return bars, TargetView(self.direction, 1.0, 1.0, {"close": row.close})
        if bars == self.leave:
            return bars, TargetView(0, 0.0, 1.0, {"close": row.close})
        return bars, None
