"""Axes of a chart: the positions of values, and the ticks with their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SIZE = 1000.0
"""Width and height of a plot in SVG units. The page stretches a plot to the size of its box."""
_DAY_NS = 86_400 * 10**9
_TICKS = 5


class AxisTick(NamedTuple):
    """A labelled value. `position` is a fraction of the axis, from the left or from the bottom."""

    position: float
    label: str


@dataclass(frozen=True)
class ValueScale:
    """The range of an axis, linear or logarithmic."""

    low: float
    high: float
    is_log: bool = False

    def positions(self, values: Floats) -> Floats:
        """Return values as fractions of the axis."""
        low, high, scaled = self.low, self.high, np.asarray(values, dtype=float)
        if self.is_log:
            low, high, scaled = math.log(low), math.log(high), np.log(scaled)
        return (scaled - low) / ((high - low) or 1.0)

    def ticks(self) -> list[float]:
        """Return about five round values within the range; powers of ten on a long logarithmic axis.

        >>> ValueScale(0.0, 10.5).ticks(), ValueScale(0.5, 2000.0, is_log=True).ticks()
        ([0.0, 2.5, 5.0, 7.5, 10.0], [1.0, 10.0, 100.0, 1000.0])
        """
        if self.is_log and self.high > 20 * self.low:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        step = round_step((self.high - self.low) / _TICKS)
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale_of(values: Sequence[Floats], *, with_zero: bool = False, is_log: bool = False) -> ValueScale:
    """Return the scale that shows all values with a margin. Values that are not numbers are ignored."""
    finite = np.concatenate([one[np.isfinite(one)] for one in values] or [np.zeros(1)])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if with_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if is_log:
        margin = (high / low) ** 0.04 if high > low else 1.01
        return ValueScale(low / margin, high * margin, is_log=True)
    margin = 0.04 * (high - low) or abs(high) * 0.01 or 1.0
    return ValueScale(
        low if with_zero and low == 0 else low - margin, high if with_zero and high == 0 else high + margin
    )


def round_step(step: float) -> float:
    """Return the next larger 1, 2, 2.5 or 5 times a power of ten.

    >>> round_step(0.3), round_step(7.0)
    (0.5, 10.0)
    """
    if step <= 0 or not math.isfinite(step):
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def time_ticks(times_ns: Sequence[int], count: int = 5) -> list[AxisTick]:
    """Return ticks at even distances along points, labelled with their times in UTC."""
    if not len(times_ns):
        return []
    last = len(times_ns) - 1
    span_ns = int(times_ns[-1]) - int(times_ns[0])
    form = "%H:%M" if span_ns < 2 * _DAY_NS else "%d %b %H:%M" if span_ns < 10 * _DAY_NS else "%d %b %Y"
    indices = sorted({round(number * last / (count - 1)) for number in range(count)})
    return [
        AxisTick(
            index / last if last else 0.0, datetime.fromtimestamp(int(times_ns[index]) // 10**9, UTC).strftime(form)
        )
        for index in indices
    ]


def thinned(values: Floats, points_max: int) -> npt.NDArray[np.int64]:
    """Return the indices of at most about `points_max` values that include the extremes of each part of the series.

    >>> [int(index) for index in thinned(np.array([1.0, 9.0, 2.0, 3.0, 0.0, 4.0]), 4)]
    [0, 1, 4, 5]
    """
    count = len(values)
    if count <= points_max:
        return np.arange(count, dtype=np.int64)
    filled = np.where(np.isfinite(values), values, 0.0)
    edges = np.linspace(0, count, max(points_max // 2, 1) + 1).astype(np.int64)
    chosen = {0, count - 1}
    for start, end in pairwise(edges):
        part = filled[start:end]
        chosen |= {int(start + part.argmin()), int(start + part.argmax())}
    return np.array(sorted(chosen), dtype=np.int64)
