"""Percentage price oscillator."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import ExponentialAverage
from schemas.errors import BadInput
from schemas.records import Bar


class PercentageOscillator(ComposedIndicator):
    """Fast minus slow exponential average of a number of the bar, in percent of the slow one; a subclass selects it."""

    __slots__ = ("fast", "name", "name_histogram", "name_signal", "signal", "slow")
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"fast": int, "slow": int, "signal": int}
    suffixes: ClassVar[tuple[str, ...]] = ("", "_signal", "_histogram")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    price_power: ClassVar[int]
    """The exponent of a split's price factor in the number."""

    def __init__(self, name: str, fast: int, slow: int, signal: int) -> None:
        for period in (fast, slow, signal):
            check_period(name, period)
        if fast >= slow:
            raise BadInput(f"indicator {name}: the fast period must be below the slow period, found {fast} and {slow}")
        self.name = name
        self.name_signal = f"{name}_signal"
        self.name_histogram = f"{name}_histogram"
        self.fast = ExponentialAverage(fast, self.price_power)
        self.slow = ExponentialAverage(slow, self.price_power)
        self.signal = ExponentialAverage(signal, price_power=0)
        self.parts = (self.fast, self.slow, self.signal)

    def push(self, value: float, values: dict[str, float]) -> None:
        """Process the number of one bar."""
        fast = self.fast.push(value)
        slow = self.slow.push(value)
        if fast is None or slow is None or -1e-300 < slow < 1e-300:  # a long pause has rounded the averages to 0
            return
        values[self.name] = line = (fast - slow) * 100.0 / slow
        signal = self.signal.push(line)
        if signal is not None:
            values[self.name_signal] = signal
            values[self.name_histogram] = line - signal


class Ppo(PercentageOscillator):
    """Percentage price oscillator: fast minus slow exponential average of the close, in percent of the slow one.

    With its exponential average (signal) and the difference (histogram). The seed of each average is its first input.
    The line is absent before `slow` bars, the signal for another `signal` - 1 bars. Equals
    `ta.momentum.PercentagePriceOscillator`; TA-Lib's PPO has other averages as the default and no signal. Source: G.
    Appel, Technical Analysis: Power Tools for Active Investors (2005).
    """

    __slots__ = ()
    kind: ClassVar[str] = "ppo"
    accepts_input: ClassVar[bool] = True
    price_power: ClassVar[int] = 1

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        self.push(bar.close, values)
