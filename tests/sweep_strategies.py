"""Strategies with parameters for the tests of sweeps, in a module that other processes can import."""

from __future__ import annotations

from typing import Any

from operators.strategies import TargetView, TradingStrategy
from schemas.records import FeatureRow


class AboveAverages:
    """Long above the average of all values that its row has: a value of another trial would change it."""

    name = "above_averages"

    def __init__(self, *, period: int = 5) -> None:
        self.features = (f"sma_{period}", f"ema_{period + 1}", f"bollinger_{period + 2}_2")

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        if len(row.values) < len(self.features):
            return state, None
        average = sum(row.values.values()) / len(row.values)
        return state, TargetView(1 if row.close > average else 0, 1.0, 1.0, {})


class HoldAfterDrop(TradingStrategy):
    """Buys after a drop over `bars` bars, and sells after `hold` bars."""

    def __init__(self, *, bars: int = 5, hold: int = 30) -> None:
        self.hold, self.average = hold, f"sma_{bars}"
        self.features = (self.average,)

    def on_slice(self, ctx: Any) -> None:
        for symbol in ctx.symbols:
            average, age = ctx.feature(symbol, self.average), ctx.state.get(symbol, 0)
            bar = ctx.bar(symbol)
            if age:
                ctx.state[symbol] = (age + 1) % self.hold
                if age + 1 == self.hold:
                    ctx.target_weight(symbol, 0.0)
            elif bar is not None and average is not None and bar.close < 0.999 * average:
                ctx.state[symbol] = 1
                ctx.target_weight(symbol, 0.02)


class FailingFromLevel:
    """Raises if `level` is 2 or more."""

    name = "failing_from_level"
    features = ()

    def __init__(self, *, level: int = 1) -> None:
        self.level = level

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        if self.level > 1:
            raise ValueError(f"level {self.level}")
        return state, TargetView(self.level, 1.0, 1.0, {})
