"""Check returns before a statistic uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def as_series(values: ArrayLike, *, name: str = "returns", length_min: int = 2) -> NDArray[np.float64]:
    """Return one series as an array. Raises BadInput if it is not one-dimensional, too short or not finite."""
    array = _as_finite(values, name)
    if array.ndim != 1:
        raise BadInput(f"{name} must be one series, found an array with {array.ndim} dimensions")
    if len(array) < length_min:
        raise BadInput(f"{name} must have at least {length_min} values, found {len(array)}")
    return array


def as_matrix(values: ArrayLike, *, name: str = "returns", rows_min: int = 2) -> NDArray[np.float64]:
    """Return one row per period and one column per trial. Raises BadInput for another shape and for too few rows."""
    array = _as_finite(values, name)
    if array.ndim != 2 or array.shape[1] == 0:
        raise BadInput(f"{name} must have one row per period and one column per trial, found shape {array.shape}")
    if len(array) < rows_min:
        raise BadInput(f"{name} must have at least {rows_min} rows, found {len(array)}")
    return array


def varies(values: NDArray[np.float64]) -> bool:
    """Return whether the values differ by more than rounding."""
    return bool(values.std() > 1e-15 * max(1.0, abs(float(values.mean()))))


def varying_columns(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each column whether its values differ by more than rounding."""
    return np.asarray(values.std(axis=0) > 1e-15 * np.maximum(1.0, np.abs(values.mean(axis=0))), dtype=np.bool_)


def _as_finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{name} must be numbers: {error}") from error
    missing = int((~np.isfinite(array)).sum())
    if missing:
        raise BadInput(f"{name} must be finite numbers, found {missing} that are not; remove or fill them")
    return array
