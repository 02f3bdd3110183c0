"""Chaikin oscillator."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period
from operators.indicators.money_flow import money_flow_volume
from schemas.errors import BadInput
from schemas.records import Bar


class ChaikinOscillator(Indicator):
    """Fast minus slow exponential average of the accumulation/distribution line (`ad`), in units.

    The seed of both averages is the first value of the line. Absent before `slow` bars. Equals TA-Lib's ADOSC. Source:
    M. Chaikin.

    The state holds the distance of each average from the line, because the line itself grows with the history.
    """

    __slots__ = ("bars_missing", "decay_fast", "decay_slow", "distance_fast", "distance_slow", "name", "period")
    kind: ClassVar[str] = "chaikin_oscillator"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"fast": int, "slow": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.VOLUME,)

    def __init__(self, name: str, fast: int, slow: int) -> None:
        check_period(name, fast)
        if fast >= slow:
            raise BadInput(f"indicator {name}: the fast period must be below the slow period, found {fast} and {slow}")
        self.name = name
        self.period = slow
        self.decay_fast = 1.0 - 2.0 / (fast + 1)
        self.decay_slow = 1.0 - 2.0 / (slow + 1)
        self.bars_missing = slow
        self.distance_fast = 0.0
        self.distance_slow = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        if self.bars_missing == self.period:
            self.bars_missing -= 1  # the seed: both averages are on the line
            return
        flow = money_flow_volume(bar)
        self.distance_fast = (self.distance_fast + flow) * self.decay_fast
        self.distance_slow = (self.distance_slow + flow) * self.decay_slow
        if self.bars_missing:
            self.bars_missing -= 1
        if not self.bars_missing:
            values[self.name] = self.distance_slow - self.distance_fast

    def rescale(self, factor: float) -> None:
        self.distance_fast /= factor
        self.distance_slow /= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.period - self.bars_missing, self.distance_fast, self.distance_slow

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        bars_seen, self.distance_fast, self.distance_slow = snapshot
        self.bars_missing = self.period - bars_seen
