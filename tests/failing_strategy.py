"""A user's strategy that raises on the third bar of one symbol. The tests load it by its path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from operators.strategies import TargetView


@dataclass(frozen=True)
class FailsOnThirdBar:
    """Long from a symbol's first bar on; raises at the bar number `fails_on_bar` of `fails_on_symbol`."""

    fails_on_symbol: str = "B"
    fails_on_bar: int = 3
    name: str = "fragile"

    @property
    def features(self) -> tuple[str, ...]:
        return ()

    def decide(self, row: Any, state: Any) -> tuple[Any, TargetView | None]:
        bars = (state or 0) + 1
        if row.symbol == self.fails_on_symbol and bars == self.fails_on_bar:
            self._divide(row.close)
        strength = 1.0 if bars % 2 else 0.5
        return bars, TargetView(1, strength, 0.5, {"bars": float(bars)})

    def _divide(self, close: float) -> float:
        return close / 0
