"""Percentage volume oscillator."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.ppo import PercentageOscillator
from schemas.records import Bar


class Pvo(PercentageOscillator):
    """Percentage volume oscillator: fast minus slow exponential average of the volume, in percent of the slow one.

    With its exponential average (signal) and the difference (histogram). The seed of each average is its first input.
    The line is absent before `slow` bars and while no bar has had volume, the signal for another `signal` - 1 lines.
    Equals `ta.momentum.PercentageVolumeOscillator`.
    """

    __slots__ = ()
    kind: ClassVar[str] = "pvo"
    price_power: ClassVar[int] = -1

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        self.push(bar.volume, values)
