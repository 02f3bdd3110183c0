"""Strategies with parameters for the tests of sweeps, in a module that other processes can import."""

from __future__ import annotations

import random
from typing import Any, Final

from operators.strategies import TargetView, TradingStrategy
from schemas.records import FeatureRow

PLANTED: Final = 1_000_000
"""The coin of `CoinToss` that is right more often than not."""
PLANTED_SHARE = 0.75


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


class CoinToss:
    """Long or short at each bar by a coin; flat instead of short by default. The planted coin is right more often.

    It reads the direction of the next bar from the last digit of the close, in which the test hides it.
    """

    name = "coin_toss"
    features = ()

    def __init__(self, *, coin: int = 0) -> None:
        self.coin = coin

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        toss = random.Random(f"{self.coin}/{row.seq}").random()
        if self.coin == PLANTED:
            is_up = round(row.close * 100) % 2 == 1
            return state, TargetView(1 if is_up == (toss < PLANTED_SHARE) else -1, 1.0, 1.0, {})
        return state, TargetView(1 if toss < 0.5 else -1, 1.0, 1.0, {})
