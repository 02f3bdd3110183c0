"""Buy at the first bar and hold: the benchmark for every other strategy."""

from __future__ import annotations

from typing import Any

from operators.strategies.strategy import TargetView
from schemas.records import FeatureRow


class BuyAndHold:
    """Direction 1 on every feature row. The platform publishes the first view only, because the others do not differ.

    There is no state: views of the bars before a start are ignored, so a state could not tell whether it has bought.
    """

    features: tuple[str, ...] = ()

    def __init__(self, *, name: str = "buy_and_hold") -> None:
        self.name = name

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        return None, TargetView(1, 1.0, 1.0, {"close": row.close})
