"""Drawdowns of many equity curves at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def largest_drawdowns(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest fall from a peak of each row, as a positive fraction of the peak.

    The first column is the initial equity, which is above 0. More than 1 if the equity falls below 0.

    >>> largest_drawdowns(np.array([[100.0, 120.0, 60.0, 90.0], [100.0, 101.0, 102.0, 103.0]]))
    array([0.5, 0. ])
    """
    return np.asarray((1 - curves / np.maximum.accumulate(curves, axis=1)).max(axis=1))
