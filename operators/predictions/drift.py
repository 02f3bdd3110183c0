"""Measure the drift of a model's inputs from its training data.

The measure is the population stability index of a window against the training rows, over the training deciles of each
input: sum over bins of (p - q) ln(p / q) (N. Siddiqi, Credit Risk Scorecards, 2006, ch. 8). Its usual limits (0.1,
0.25) assume independent rows. Minute bars are not independent, so the limit here is the 95 % quantile of the training
windows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import log
from typing import Any, NamedTuple

ROWS_PER_CHECK = 60
"""Rows of a symbol between two checks."""
DECAY = 0.8
"""Factor of the counts after each check. The effective window is about 300 rows; newer rows have more weight."""
ROWS_MIN = 240
"""Rows of a symbol before the first check."""
_SHARE_MIN = 1e-3
"""Replaces a share of 0, which has no logarithm."""


class DriftReference(NamedTuple):
    """Statistics of the training rows.

    `edges` are the inner bin edges of each input, `shares` the fractions of the rows in each bin. `index_p95` is the
    95 % quantile of the index over the training windows.
    """

    edges: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    index_p95: float


class DriftWindow:
    """One symbol's recent rows as counts by input and bin, and the index at the last check."""

    __slots__ = ("counts", "index", "rows")

    def __init__(self, reference: DriftReference) -> None:
        self.counts = [[0.0] * len(shares) for shares in reference.shares]
        self.rows = 0
        self.index = 0.0

    def add(self, reference: DriftReference, inputs: Sequence[float]) -> bool:
        """Add one row. Return True if the index was updated."""
        for counts, edges, value in zip(self.counts, reference.edges, inputs, strict=True):
            counts[bisect_right(edges, value)] += 1.0
        self.rows += 1
        if self.rows < ROWS_MIN or self.rows % ROWS_PER_CHECK:
            return False
        self.index = sum(map(_stability_index, self.counts, reference.shares)) / len(self.counts)
        self.counts = [[count * DECAY for count in counts] for counts in self.counts]
        return True

    def as_tuple(self) -> tuple[Any, ...]:
        return (self.rows, self.index, [tuple(counts) for counts in self.counts])

    @classmethod
    def from_tuple(cls, reference: DriftReference, state: tuple[Any, ...]) -> DriftWindow:
        window = cls(reference)
        window.rows, window.index, counts = state
        window.counts = [list(row) for row in counts]
        return window


def drift_score(index: float, index_p95: float) -> float:
    """Return 0 for an index of at most `index_p95`, 1 for at least twice that, and a linear value in between.

    >>> drift_score(0.3, 0.2), drift_score(0.1, 0.2), drift_score(1.0, 0.2)
    (0.4999999999999998, 0.0, 1.0)
    """
    return min(1.0, max(0.0, index / index_p95 - 1.0))


def build_reference(by_symbol: Sequence[Sequence[Sequence[float]]], bins: int = 10) -> DriftReference:
    """Compute the reference from the training inputs, given per symbol in order of time."""
    rows = [row for rows in by_symbol for row in rows]
    assert rows, "a drift reference requires training rows"
    edges = tuple(_quantiles(sorted(column), bins) for column in zip(*rows, strict=True))
    counts = [[0] * (len(column_edges) + 1) for column_edges in edges]
    for row in rows:
        for bin_counts, inner_edges, value in zip(counts, edges, row, strict=True):
            bin_counts[bisect_right(inner_edges, value)] += 1
    shares = tuple(tuple(count / len(rows) for count in bin_counts) for bin_counts in counts)
    reference = DriftReference(edges, shares, 1.0)
    indexes = []
    for symbol_rows in by_symbol:
        window = DriftWindow(reference)
        indexes += [window.index for row in symbol_rows if window.add(reference, row)]
    indexes.sort()
    # With too few rows for a window, use the usual limit for a large shift.
    index_p95 = indexes[int(0.95 * (len(indexes) - 1))] if indexes else 0.25
    return reference._replace(index_p95=max(index_p95, 0.1))


def _quantiles(ordered: Sequence[float], bins: int) -> tuple[float, ...]:
    return tuple(sorted({ordered[len(ordered) * number // bins] for number in range(1, bins)}))


def _stability_index(counts: Sequence[float], shares: Sequence[float]) -> float:
    total = sum(counts)
    index = 0.0
    for count, share in zip(counts, shares, strict=True):
        actual, expected = max(count / total, _SHARE_MIN), max(share, _SHARE_MIN)
        index += (actual - expected) * log(actual / expected)
    return index
