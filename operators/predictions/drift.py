"""Whether what a model sees still looks like what it was trained on.

Population stability index of a window against the training rows, over the training's deciles of each input:
sum over bins of (p - q) ln(p / q) (N. Siddiqi, Credit Risk Scorecards, 2006, ch. 8). Its usual limits (0.1, 0.25) are
for independent rows; minute bars are not, so the limit here is what 95 % of the training's own windows stay below.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import log
from typing import Any, NamedTuple

CHECK_ROWS = 60
"""Rows of a symbol between two looks."""
KEPT = 0.8
"""Share of the counts that stays after a look: the window is about 300 rows, the newer ones counting more."""
FIRST_ROWS = 240
"""No look before this many rows."""
_LEAST = 1e-3
"""Stands for a share of 0, whose logarithm is none."""


class Reference(NamedTuple):
    """The training rows. `edges` are the inner bin edges of each input, `shares` how much of the rows each bin held,
    `usual` the index that 95 % of the training's windows stay below.
    """

    edges: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    usual: float


class Window:
    """One symbol's recent rows as counts by input and bin, and the index at the last look."""

    __slots__ = ("counts", "index", "rows")

    def __init__(self, reference: Reference) -> None:
        self.counts = [[0.0] * len(shares) for shares in reference.shares]
        self.rows = 0
        self.index = 0.0

    def add(self, reference: Reference, inputs: Sequence[float]) -> bool:
        """Count one row in; True where it was time for a look."""
        for counts, edges, value in zip(self.counts, reference.edges, inputs, strict=True):
            counts[bisect_right(edges, value)] += 1.0
        self.rows += 1
        if self.rows < FIRST_ROWS or self.rows % CHECK_ROWS:
            return False
        self.index = sum(map(_stability, self.counts, reference.shares)) / len(self.counts)
        self.counts = [[count * KEPT for count in counts] for counts in self.counts]
        return True

    def as_tuple(self) -> tuple[Any, ...]:
        return (self.rows, self.index, [tuple(counts) for counts in self.counts])

    @classmethod
    def of(cls, reference: Reference, state: tuple[Any, ...]) -> Window:
        window = cls(reference)
        window.rows, window.index, counts = state
        window.counts = [list(one) for one in counts]
        return window


def drift(index: float, usual: float) -> float:
    """0 up to what was usual in training, 1 from twice that on.

    >>> drift(0.3, 0.2), drift(0.1, 0.2), drift(1.0, 0.2)
    (0.4999999999999998, 0.0, 1.0)
    """
    return min(1.0, max(0.0, index / usual - 1.0))


def reference_of(by_symbol: Sequence[Sequence[Sequence[float]]], bins: int = 10) -> Reference:
    """Deciles, shares and the usual index of the training's inputs, given symbol by symbol in order of time."""
    rows = [row for rows in by_symbol for row in rows]
    assert rows, "a reference needs rows"
    edges = tuple(_quantiles(sorted(column), bins) for column in zip(*rows, strict=True))
    counts = [[0] * (len(one) + 1) for one in edges]
    for row in rows:
        for held, inner, value in zip(counts, edges, row, strict=True):
            held[bisect_right(inner, value)] += 1
    shares = tuple(tuple(count / len(rows) for count in held) for held in counts)
    reference = Reference(edges, shares, 1.0)
    indexes = []
    for rows_of_one in by_symbol:
        window = Window(reference)
        indexes += [window.index for row in rows_of_one if window.add(reference, row)]
    indexes.sort()
    # Too few rows for a window: the rule of thumb for a large shift.
    usual = indexes[int(0.95 * (len(indexes) - 1))] if indexes else 0.25
    return reference._replace(usual=max(usual, 0.1))


def _quantiles(ordered: Sequence[float], bins: int) -> tuple[float, ...]:
    return tuple(sorted({ordered[len(ordered) * place // bins] for place in range(1, bins)}))


def _stability(counts: Sequence[float], shares: Sequence[float]) -> float:
    total = sum(counts)
    index = 0.0
    for count, share in zip(counts, shares, strict=True):
        found, expected = max(count / total, _LEAST), max(share, _LEAST)
        index += (found - expected) * log(found / expected)
    return index
