"""An indicator that is composed of running statistics or of other indicators."""

from __future__ import annotations

from typing import Any

from operators.indicators.indicator import Indicator
from operators.indicators.rolling import RollingState


class ComposedIndicator(Indicator):
    """An indicator whose whole state is that of its `parts`. A subclass sets `parts` and writes `update` only."""

    __slots__ = ("parts",)
    parts: tuple[RollingState | Indicator, ...]

    def rescale(self, factor: float) -> None:
        for part in self.parts:
            part.rescale(factor)

    def snapshot(self) -> tuple[Any, ...]:
        return tuple([part.snapshot() for part in self.parts])

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        for part, state in zip(self.parts, snapshot, strict=True):
            part.restore(state)
