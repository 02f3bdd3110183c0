"""Running moments and regression of a window of numbers, without the cancellation of E[x²] - E[x]²."""

from __future__ import annotations

from math import fsum
from typing import Any, Final

from operators.indicators.indicator import new_share_price
from operators.indicators.rolling import RollingState

CANCELLATION_MIN: Final = 1e-2
"""A central sum that has shrunk to this part of what it was computed from is recomputed."""


class RollingMoments(RollingState):
    """Mean and central sums of the last `size` numbers, up to the power `order` (2 to 4).

    Running sums of powers of the distance from a reference, which is the newest number when they are recomputed: once
    per `size` numbers, and when rounding errors have become significant. Sums of equal numbers are exactly 0.
    """

    __slots__ = ("oldest", "order", "peak_2", "peak_4", "reference", "size", "sums", "values")

    def __init__(self, size: int, order: int = 2, price_power: int = 1) -> None:
        super().__init__(price_power)
        self.size = size
        self.order = order
        self.values: list[float] = []
        self.oldest = 0  # index of the oldest number once `size` numbers are stored
        self.reference = 0.0
        self.sums = [0.0] * order  # of the powers 1 to `order` of the distances from the reference
        self.peak_2 = 0.0  # largest sum of squares since the last recomputation
        self.peak_4 = 0.0

    @property
    def full(self) -> bool:
        """Whether `size` numbers have been added."""
        return len(self.values) == self.size

    def push(self, value: float) -> bool:
        """Add a number. Return whether there are `size` numbers."""
        values = self.values
        if len(values) < self.size:
            values.append(value)
            if len(values) < self.size:
                return False
            self._recompute(value)
            return True
        oldest = self.oldest
        added, dropped = value - self.reference, values[oldest] - self.reference
        values[oldest] = value
        oldest += 1
        self.oldest = oldest = 0 if oldest == self.size else oldest
        sums = self.sums
        sums[0] += added - dropped
        added_power, dropped_power = added, dropped
        for index in range(1, self.order):
            added_power *= added
            dropped_power *= dropped
            sums[index] += added_power - dropped_power
        if sums[1] > self.peak_2:
            self.peak_2 = sums[1]
        if self.order == 4 and sums[3] > self.peak_4:
            self.peak_4 = sums[3]
        if (
            oldest == 0
            or self.square_sum < CANCELLATION_MIN * self.peak_2
            or (self.order == 4 and self.fourth_sum < CANCELLATION_MIN * self.peak_4)
        ):
            self._recompute(value)
        return True

    @property
    def mean(self) -> float:
        return self.reference + self.sums[0] / self.size

    @property
    def square_sum(self) -> float:
        """Sum of the squared deviations from the mean, at least 0."""
        first, second = self.sums[0], self.sums[1]
        square_sum = second - first * first / self.size
        return square_sum if square_sum > 0.0 else 0.0

    @property
    def cube_sum(self) -> float:
        """Sum of the cubed deviations from the mean. Requires `order` >= 3."""
        distance = self.sums[0] / self.size
        return self.sums[2] - 3.0 * distance * self.sums[1] + 2.0 * self.size * distance**3

    @property
    def fourth_sum(self) -> float:
        """Sum of the fourth powers of the deviations from the mean, at least 0. Requires `order` = 4."""
        distance = self.sums[0] / self.size
        fourth_sum = (
            self.sums[3]
            - 4.0 * distance * self.sums[2]
            + 6.0 * distance**2 * self.sums[1]
            - 3.0 * self.size * distance**4
        )
        return fourth_sum if fourth_sum > 0.0 else 0.0

    def _recompute(self, reference: float) -> None:
        self.reference = reference
        distances = [value - reference for value in self.values]
        self.sums = [fsum([distance**power for distance in distances]) for power in range(1, self.order + 1)]
        self.peak_2 = self.sums[1]
        self.peak_4 = self.sums[3] if self.order == 4 else 0.0

    def _multiply(self, factor: float) -> None:
        self.values = [new_share_price(value, factor) for value in self.values]
        if self.full:
            self._recompute(self.values[self.oldest - 1])

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.values), self.oldest, self.reference, tuple(self.sums), self.peak_2, self.peak_4

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        values, self.oldest, self.reference, sums, self.peak_2, self.peak_4 = snapshot
        self.values = list(values)
        self.sums = list(sums)


class RollingRegression(RollingState):
    """Least-squares line through the last `size` numbers, over their positions 0 (oldest) to `size` - 1 (newest)."""

    __slots__ = ("moments", "position_square_sum", "size", "weighted_sum")

    def __init__(self, size: int, price_power: int = 1) -> None:
        super().__init__(price_power)
        self.size = size
        self.moments = RollingMoments(size, price_power=price_power)
        self.position_square_sum = size * (size * size - 1) / 12.0  # of the distances from the mean position
        self.weighted_sum = 0.0  # of position times distance from the reference of the moments

    def push(self, value: float) -> bool:
        """Add a number. Return whether there are `size` numbers."""
        moments = self.moments
        if not moments.full:
            if not moments.push(value):
                return False
            self._recompute()
            return True
        reference, total = moments.reference, moments.sums[0]
        dropped = moments.values[moments.oldest] - reference
        moments.push(value)
        if moments.reference != reference or moments.oldest == 0:
            self._recompute()
        else:
            # All others move one position down.
            self.weighted_sum += (self.size - 1) * (value - reference) - (total - dropped)
        return True

    @property
    def slope(self) -> float:
        """Change per position."""
        return (self.weighted_sum - self.moments.sums[0] * (self.size - 1) / 2.0) / self.position_square_sum

    @property
    def end(self) -> float:
        """The line at the newest position."""
        return self.moments.mean + self.slope * (self.size - 1) / 2.0

    @property
    def r_squared(self) -> float | None:
        """Part of the variance that the line explains, 0 to 1; None if all numbers are equal."""
        square_sum = self.moments.square_sum
        if square_sum == 0.0:
            return None
        return min(self.slope**2 * self.position_square_sum / square_sum, 1.0)

    def _recompute(self) -> None:
        moments = self.moments
        ordered = moments.values[moments.oldest :] + moments.values[: moments.oldest]
        self.weighted_sum = fsum([i * (value - moments.reference) for i, value in enumerate(ordered)])

    def rescale(self, factor: float) -> None:
        self.moments.rescale(factor)
        if self.moments.full:
            self._recompute()

    def snapshot(self) -> tuple[Any, ...]:
        return *self.moments.snapshot(), self.weighted_sum

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        *moments, self.weighted_sum = snapshot
        self.moments.restore(tuple(moments))
