"""Running statistics of one series of numbers, from which the indicators are composed."""

from __future__ import annotations

from collections import deque
from math import fsum
from operator import mul
from typing import Any, Final

from operators.indicators.indicator import new_share_price

SHRINKAGE_MIN: Final = 1e-4
"""A sum below this part of its peak is recomputed, because the rounding error of the peak has become significant."""


class RollingState:
    """The state of one running statistic. A split multiplies its numbers by factor ** `price_power`.

    `price_power` is 1 for prices, -1 for volumes, and 0 for numbers that a split does not change.
    """

    __slots__ = ("price_power",)

    def __init__(self, price_power: int) -> None:
        self.price_power = price_power

    def rescale(self, factor: float) -> None:
        """Convert the state after a split that multiplies prices by `factor`."""
        if self.price_power:
            self._multiply(factor**self.price_power)

    def _multiply(self, factor: float) -> None:
        raise NotImplementedError

    def snapshot(self) -> tuple[Any, ...]:
        """Return the state as a tuple of plain values that later numbers do not change."""
        raise NotImplementedError

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore the state from the `snapshot()` of a statistic with the same arguments."""
        raise NotImplementedError


class PastValue(RollingState):
    """The number of `delay` pushes ago. Prices of bars are rounded after a split (`new_share_price`)."""

    __slots__ = ("delay", "oldest", "values")

    def __init__(self, delay: int, price_power: int = 1) -> None:
        super().__init__(price_power)
        self.delay = delay
        self.values: list[float] = []
        self.oldest = 0  # index of the oldest number once `delay` numbers are stored

    def push(self, value: float) -> float | None:
        """Add a number. Return the one that was added `delay` pushes before; None while there is none."""
        values = self.values
        if len(values) < self.delay:
            values.append(value)
            return None
        oldest = self.oldest
        past = values[oldest]
        values[oldest] = value
        oldest += 1
        self.oldest = 0 if oldest == self.delay else oldest
        return past

    def _multiply(self, factor: float) -> None:
        self.values = [new_share_price(value, factor) for value in self.values]

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.values), self.oldest

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        values, self.oldest = snapshot
        self.values = list(values)


class RollingSum(RollingState):
    """The sum of the last `size` numbers.

    It is recomputed once per `size` numbers, and when it has shrunk far below its peak. This bounds the rounding error,
    and the sum of zeros is exactly 0.
    """

    __slots__ = ("oldest", "peak", "size", "total", "values")

    def __init__(self, size: int, price_power: int = 1) -> None:
        super().__init__(price_power)
        self.size = size
        self.values: list[float] = []
        self.oldest = 0  # index of the oldest number once `size` numbers are stored
        self.total = 0.0
        self.peak = 0.0  # largest absolute sum since the last recomputation

    def push(self, value: float) -> float | None:
        """Add a number. Return the sum of the last `size` numbers; None before `size` numbers."""
        values = self.values
        size = self.size
        if len(values) < size:
            values.append(value)
            return self._recompute() if len(values) == size else None
        oldest = self.oldest
        total = self.total + (value - values[oldest])
        values[oldest] = value
        oldest += 1
        if oldest == size:
            self.oldest = 0
            return self._recompute()
        self.oldest = oldest
        magnitude = total if total >= 0.0 else -total
        if magnitude < SHRINKAGE_MIN * self.peak:
            return self._recompute()
        if magnitude > self.peak:
            self.peak = magnitude
        self.total = total
        return total

    def clear(self) -> None:
        """Forget all numbers."""
        self.values = []
        self.oldest = 0
        self.total = self.peak = 0.0

    def _recompute(self) -> float:
        self.total = total = fsum(self.values)
        self.peak = abs(total)
        return total

    def _multiply(self, factor: float) -> None:
        self.values = [value * factor for value in self.values]
        self.total *= factor
        self.peak *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.values), self.oldest, self.total, self.peak

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        values, self.oldest, self.total, self.peak = snapshot
        self.values = list(values)


class LinearlyWeightedAverage(RollingState):
    """The mean of the last `size` numbers with the weights 1 (oldest) to `size` (newest).

    Two running sums give it in constant time. They are recomputed as in `RollingSum`.
    """

    __slots__ = ("oldest", "peak", "size", "total", "values", "weight_sum", "weighted_total")

    def __init__(self, size: int, price_power: int = 1) -> None:
        super().__init__(price_power)
        self.size = size
        self.weight_sum = size * (size + 1) / 2
        self.values: list[float] = []
        self.oldest = 0  # index of the oldest number once `size` numbers are stored
        self.total = 0.0
        self.weighted_total = 0.0
        self.peak = 0.0  # largest absolute sum since the last recomputation

    def push(self, value: float) -> float | None:
        """Add a number. Return the weighted mean of the last `size` numbers; None before `size` numbers."""
        values = self.values
        size = self.size
        if len(values) < size:
            values.append(value)
            if len(values) < size:
                return None
            self._recompute()
            return self.weighted_total / self.weight_sum
        oldest = self.oldest
        weighted_total = self.weighted_total + (size * value - self.total)
        total = self.total + (value - values[oldest])
        values[oldest] = value
        oldest += 1
        if oldest == size:
            oldest = 0
        self.oldest = oldest
        self.total = total
        self.weighted_total = weighted_total
        magnitude = total if total >= 0.0 else -total
        if oldest == 0 or magnitude < SHRINKAGE_MIN * self.peak:
            self._recompute()
        elif magnitude > self.peak:
            self.peak = magnitude
        return self.weighted_total / self.weight_sum

    def _recompute(self) -> None:
        ordered = self.values[self.oldest :] + self.values[: self.oldest]
        self.total = fsum(ordered)
        self.weighted_total = fsum(map(mul, range(1, self.size + 1), ordered))
        self.peak = abs(self.total)

    def _multiply(self, factor: float) -> None:
        self.values = [value * factor for value in self.values]
        self.total *= factor
        self.weighted_total *= factor
        self.peak *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.values), self.oldest, self.total, self.weighted_total, self.peak

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        values, self.oldest, self.total, self.weighted_total, self.peak = snapshot
        self.values = list(values)


class RollingMaximum(RollingState):
    """The largest of the last `size` numbers. Push negated numbers for the smallest.

    Only numbers that no later one exceeds are stored, so a number is added and removed once: O(1) per number. Prices of
    bars are rounded after a split (`new_share_price`).
    """

    __slots__ = ("candidates", "pushes", "size")

    def __init__(self, size: int, price_power: int = 1) -> None:
        super().__init__(price_power)
        self.size = size
        self.pushes = 0
        self.candidates: deque[tuple[int, float]] = deque()  # (number of the push, number), numbers decrease

    def push(self, value: float) -> float:
        """Add a number. Return the largest of the last `size` numbers, or of all while there are fewer."""
        candidates = self.candidates
        pushes = self.pushes = self.pushes + 1
        while candidates and candidates[-1][1] <= value:
            candidates.pop()
        candidates.append((pushes, value))
        if candidates[0][0] <= pushes - self.size:
            candidates.popleft()
        return candidates[0][1]

    def clear(self) -> None:
        """Forget all numbers."""
        self.pushes = 0
        self.candidates.clear()

    @property
    def full(self) -> bool:
        """Whether `size` numbers have been added."""
        return self.pushes >= self.size

    @property
    def age(self) -> int:
        """How many pushes ago the largest number was added; of equal numbers, the latest."""
        return self.pushes - self.candidates[0][0]

    def _multiply(self, factor: float) -> None:
        self.candidates = deque((push, new_share_price(value, factor)) for push, value in self.candidates)

    def snapshot(self) -> tuple[Any, ...]:
        candidates = tuple((self.pushes - push, value) for push, value in self.candidates)
        return min(self.pushes, self.size), candidates

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.pushes, candidates = snapshot
        self.candidates = deque((self.pushes - age, value) for age, value in candidates)


class ExponentialAverage(RollingState):
    """The exponential average with the weight 2 / (`period` + 1) for the newest number, seeded with the first."""

    __slots__ = ("alpha", "missing", "period", "value")

    def __init__(self, period: int, price_power: int = 1) -> None:
        super().__init__(price_power)
        self.period = period
        self.alpha = 2.0 / (period + 1)
        self.missing = period  # numbers until the first average
        self.value = 0.0

    def push(self, value: float) -> float | None:
        """Add a number. Return the average; None before `period` numbers."""
        if self.missing:
            if self.missing == self.period:
                self.value = value
            self.missing -= 1
            self.value = average = self.value + (value - self.value) * self.alpha
            return None if self.missing else average
        self.value = average = self.value + (value - self.value) * self.alpha
        return average

    def _multiply(self, factor: float) -> None:
        self.value *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.period - self.missing, self.value

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        numbers_seen, self.value = snapshot
        self.missing = self.period - numbers_seen
