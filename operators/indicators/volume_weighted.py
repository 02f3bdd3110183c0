"""Mean and variance of prices, weighted by volume."""

from __future__ import annotations

from typing import Any

from operators.indicators.rolling import RollingState


class VolumeWeighted(RollingState):
    """Mean and population variance of all prices since the last `clear`, weighted by their volumes.

    Source: D. West, Updating mean and variance estimates: an improved method (1979).
    """

    __slots__ = ("mean", "square_sum", "volume")

    def __init__(self) -> None:
        super().__init__(price_power=1)
        self.clear()

    def clear(self) -> None:
        """Forget all prices."""
        self.volume = 0.0
        self.mean = 0.0
        self.square_sum = 0.0  # of volume times squared deviation

    def push(self, price: float, volume: float) -> bool:
        """Add a price. Return whether any volume has been added."""
        if volume > 0.0:
            self.volume += volume
            deviation = price - self.mean
            self.mean += deviation * (volume / self.volume)
            self.square_sum += volume * deviation * (price - self.mean)
        return self.volume > 0.0

    @property
    def variance(self) -> float:
        return max(self.square_sum, 0.0) / self.volume

    def _multiply(self, factor: float) -> None:
        self.volume /= factor
        self.mean *= factor
        self.square_sum *= factor  # price squared times volume

    def snapshot(self) -> tuple[Any, ...]:
        return self.volume, self.mean, self.square_sum

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.volume, self.mean, self.square_sum = snapshot
