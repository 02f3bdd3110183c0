"""Moving average convergence divergence."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period
from schemas.errors import BadInput
from schemas.records import Bar


class Macd(Indicator):
    """MACD line (fast minus slow exponential average of the close), its exponential average (signal), and histogram.

    All in the price's unit. The averages use the same seed as `ema`, so the line equals ema_fast - ema_slow except for
    rounding. The line is absent before `slow` bars. The seed of the signal is the first line; the signal is absent for
    another `signal` - 1 bars. Equals `ta.trend.MACD`; TA-Lib uses simple averages as the seed. Source: G. Appel (1979).
    """

    __slots__ = (
        "alpha_fast",
        "alpha_signal",
        "alpha_slow",
        "bars_seen",
        "fast",
        "line_warm_up_bars",
        "name",
        "name_histogram",
        "name_signal",
        "signal",
        "slow",
        "warm_up_bars",
    )  # fmt: skip
    kind: ClassVar[str] = "macd"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"fast": int, "slow": int, "signal": int}
    suffixes: ClassVar[tuple[str, ...]] = ("", "_signal", "_histogram")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE_CHANGE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, fast: int, slow: int, signal: int) -> None:
        for period in (fast, slow, signal):
            check_period(name, period)
        if fast >= slow:
            raise BadInput(f"indicator {name}: the fast period must be below the slow period, found {fast} and {slow}")
        self.name = name
        self.name_signal = f"{name}_signal"
        self.name_histogram = f"{name}_histogram"
        self.alpha_fast = 2.0 / (fast + 1)
        self.alpha_slow = 2.0 / (slow + 1)
        self.alpha_signal = 2.0 / (signal + 1)
        self.line_warm_up_bars = slow
        self.warm_up_bars = slow + signal - 1
        self.bars_seen = 0  # at most warm_up_bars
        self.fast = 0.0
        self.slow = 0.0
        self.signal = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        if self.bars_seen < self.warm_up_bars:
            self._warm_up(close, values)
            return
        fast = self.fast
        self.fast = fast = fast + (close - fast) * self.alpha_fast
        slow = self.slow
        self.slow = slow = slow + (close - slow) * self.alpha_slow
        line = fast - slow
        signal = self.signal
        self.signal = signal = signal + (line - signal) * self.alpha_signal
        values[self.name] = line
        values[self.name_signal] = signal
        values[self.name_histogram] = line - signal

    def _warm_up(self, close: float, values: dict[str, float]) -> None:
        if self.bars_seen == 0:
            self.fast = self.slow = close
        self.bars_seen += 1
        self.fast += (close - self.fast) * self.alpha_fast
        self.slow += (close - self.slow) * self.alpha_slow
        line = self.fast - self.slow
        if self.bars_seen == self.line_warm_up_bars:
            self.signal = line
        if self.bars_seen >= self.line_warm_up_bars:
            self.signal += (line - self.signal) * self.alpha_signal
            values[self.name] = line
        if self.bars_seen == self.warm_up_bars:
            values[self.name_signal] = self.signal
            values[self.name_histogram] = line - self.signal

    def rescale(self, factor: float) -> None:
        self.fast *= factor
        self.slow *= factor
        self.signal *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.bars_seen, self.fast, self.slow, self.signal

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.bars_seen, self.fast, self.slow, self.signal = snapshot
