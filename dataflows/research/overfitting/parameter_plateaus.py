"""Parameter plateaus: is the best parameter set on a plateau, or a lonely peak?

A set whose neighbours on the grid are good too depends less on luck than a peak between poor sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURHOOD_COLUMNS = ("neighbours", "neighbourhood_mean", "neighbourhood_min")


def neighbourhoods(trials: pd.DataFrame, parameters: Sequence[str], objective: str, *, radius: int = 1) -> pd.DataFrame:
    """Return the trials with three more columns, best neighbourhood mean first.

    neighbours          number of other trials at most `radius` grid steps away in every parameter
    neighbourhood_mean  mean objective of the trial and its neighbours
    neighbourhood_min   smallest objective of the trial and its neighbours

    `trials` has one row per parameter set. The grid steps of a parameter are its values in sorted order; the grid may
    have gaps. Raises BadInput for an unknown column, a parameter set that occurs twice, and a missing objective.

    >>> import pandas as pd
    >>> sweep = pd.DataFrame({"fast": [5, 10, 20, 40, 60, 80], "sharpe": [0.0, 1.5, 0.0, 1.0, 1.2, 1.1]})
    >>> neighbourhoods(sweep, ["fast"], "sharpe")[["fast", "sharpe", "neighbourhood_min"]].head(2).values.tolist()
    [[80.0, 1.1, 1.1], [60.0, 1.2, 1.0]]
    """
    from scipy.spatial import cKDTree  # imports take half a second

    _validate(trials, parameters, objective, radius)
    values = trials[objective].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise BadInput(
            f"{objective} must be a finite number in every row, found {int((~np.isfinite(values)).sum())} not"
        )
    steps = np.column_stack([np.unique(trials[name].to_numpy(), return_inverse=True)[1] for name in parameters])
    groups = cKDTree(steps).query_ball_point(steps, r=radius + 0.5, p=np.inf)
    return (
        trials.assign(
            neighbours=[len(group) - 1 for group in groups],
            neighbourhood_mean=[float(values[group].mean()) for group in groups],
            neighbourhood_min=[float(values[group].min()) for group in groups],
        )
        .sort_values("neighbourhood_mean", ascending=False, kind="stable")
        .reset_index(drop=True)
    )


def _validate(trials: pd.DataFrame, parameters: Sequence[str], objective: str, radius: int) -> None:
    names = [str(column) for column in trials.columns]
    for name in (*parameters, objective):
        if name not in names:
            raise BadInput(f"the trials have no column {name!r}{did_you_mean(name, names)}; found {', '.join(names)}")
    if not parameters:
        raise BadInput("parameters must name at least one column")
    if trials.empty:
        raise BadInput("no trials to compare")
    if radius < 1:
        raise BadInput(f"radius must be at least 1 grid step, found {radius}")
    repeated = trials[trials.duplicated(list(parameters))]
    if not repeated.empty:
        first = ", ".join(f"{name}={repeated[name].iloc[0]}" for name in parameters)
        raise BadInput(f"the parameter set {first} occurs more than once; pass one row per set")
