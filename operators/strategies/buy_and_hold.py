"""Buy at the first bar and hold: the benchmark for every other strategy."""

from __future__ import annotations

from typing import Any

from operators.strategies.strategy import TargetView
from schemas.records import FeatureRow


class BuyAndHold:
    """Direction 1 from a symbol's first feature row on. The state is 1 after the first view."""

    features: tuple[str, ...] = ()

    def __init__(self, *, name: str = "buy_and_hold") -> None:
        self.name = name

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        if state is not None:
            return state, None
        return 1, TargetView(1, 1.0, 1.0, {"close": row.close})
