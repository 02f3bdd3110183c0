"""Parameter plateaus: is the best parameter set on a plateau, or a lonely peak?

A set whose neighbours on the grid are good too depends less on luck than a peak between poor sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

OBJECTIVE = "objective"
"""Column of the objective in the frame of trials."""
NEIGHBOURHOOD_COLUMNS = ("neighbours", "neighbourhood_mean", "neighbourhood_min")


class Plateau(NamedTuple):
    """A chosen trial with its neighbours on the grid.

    neighbours          number of its neighbours
    neighbourhood_mean  mean objective of the trial and its neighbours
    neighbourhood_min   smallest objective of the trial and its neighbours
    is_lonely_peak      whether it is better than its neighbours, and these are on average no better than the median of
                        the trials that are further away
    """

    neighbours: int
    neighbourhood_mean: float
    neighbourhood_min: float
    is_lonely_peak: bool

    def sentences(self, trial: str = "the best trial") -> list[str]:
        """Return what a reader must know about the trial, one sentence each."""
        if not self.neighbours:
            return [f"No neighbour of {trial} on the grid has run, so it may be a lonely peak."]
        verb = "neighbour on the grid has" if self.neighbours == 1 else "neighbours on the grid have"
        texts = [
            f"{trial[0].upper()}{trial[1:]} and its {self.neighbours} {verb} a mean of {self.neighbourhood_mean:.4g}; "
            f"the smallest value is {self.neighbourhood_min:.4g}."
        ]
        if self.is_lonely_peak:
            texts.append(
                f"Warning: {trial} is a lonely peak. Its neighbours are on average no better than the trials further "
                "away, so a small change of a parameter loses the result."
            )
        return texts


class PlateauTable(NamedTuple):
    """Trials with the columns of `neighbourhoods`, and the one that was chosen.

    `plateau` is None if no parameter varies. `label` is the name of the objective for readers.
    """

    trials: pd.DataFrame
    parameters: tuple[str, ...]
    objective: str
    chosen: Mapping[str, Any]
    plateau: Plateau | None
    label: str = OBJECTIVE


def neighbourhoods(
    trials: pd.DataFrame,
    parameters: Sequence[str],
    objective: str,
    *,
    radius: int = 1,
    grid: Mapping[str, Iterable[Any]] | None = None,
) -> pd.DataFrame:
    """Return the trials with three more columns, best neighbourhood mean first.

    neighbours          number of other trials at most `radius` grid steps away in every parameter
    neighbourhood_mean  mean objective of the trial and its neighbours
    neighbourhood_min   smallest objective of the trial and its neighbours

    `trials` has one row per parameter set. The grid steps of a parameter are its values in `grid`, by default those of
    the trials, in sorted order. Values that are no numbers have no order: sets with different ones are no neighbours.
    Raises BadInput for an unknown column, a parameter set that occurs twice, a value that is not in `grid`, and a
    missing objective.

    >>> import pandas as pd
    >>> sweep = pd.DataFrame({"fast": [5, 10, 20, 40, 60, 80], "sharpe": [0.0, 1.5, 0.0, 1.0, 1.2, 1.1]})
    >>> neighbourhoods(sweep, ["fast"], "sharpe")[["fast", "sharpe", "neighbourhood_min"]].head(2).values.tolist()
    [[80.0, 1.1, 1.1], [60.0, 1.2, 1.0]]
    """
    _validate(trials, parameters, objective, radius)
    steps = _steps(trials, parameters, radius, grid)
    found = _with_neighbourhoods(trials, objective, steps, radius)
    return found.sort_values("neighbourhood_mean", ascending=False, kind="stable").reset_index(drop=True)


def plateau_table(
    trials: pd.DataFrame,
    parameters: Sequence[str],
    objective: str,
    chosen: Mapping[str, Any],
    *,
    grid: Mapping[str, Iterable[Any]] | None = None,
) -> PlateauTable:
    """Return the trials that have the objective, with their neighbourhoods, in their order, and judge the chosen one.

    `chosen` are the parameters of a trial that has the objective. Raises BadInput like `neighbourhoods`.
    """
    names = tuple(parameters)
    grid = {name: trials[name].tolist() for name in names} if grid is None else grid
    defined = trials[[*names, objective]].dropna(subset=[objective]).astype({objective: float})
    if not any(defined[name].nunique() > 1 for name in names):
        return PlateauTable(defined, names, objective, chosen, None)
    _validate(defined, names, objective, 1)
    steps = _steps(defined, names, 1, grid)
    found = _with_neighbourhoods(defined, objective, steps, 1)
    is_chosen = np.logical_and.reduce([np.array(found[name].tolist(), dtype=object) == chosen[name] for name in names])
    row = int(np.flatnonzero(is_chosen)[0])
    is_near = np.abs(steps - steps[row]).max(axis=1) <= 1
    values = found[objective].to_numpy(dtype=np.float64)
    further, value = values[~is_near], float(values[row])
    is_near[row] = False
    near = values[is_near]
    plateau = Plateau(
        neighbours=int(near.size),
        neighbourhood_mean=float(found["neighbourhood_mean"].iloc[row]),
        neighbourhood_min=float(found["neighbourhood_min"].iloc[row]),
        is_lonely_peak=bool(near.size and further.size and value > near.mean() <= np.median(further)),
    )
    return PlateauTable(found, names, objective, chosen, plateau)


def _with_neighbourhoods(trials: pd.DataFrame, objective: str, steps: NDArray[np.int64], radius: int) -> pd.DataFrame:
    from scipy.spatial import cKDTree  # imports take half a second

    values = trials[objective].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise BadInput(
            f"{objective} must be a finite number in every row, found {int((~np.isfinite(values)).sum())} not"
        )
    groups = cKDTree(steps).query_ball_point(steps, r=radius + 0.5, p=np.inf)
    return trials.assign(
        neighbours=[len(group) - 1 for group in groups],
        neighbourhood_mean=[float(values[group].mean()) for group in groups],
        neighbourhood_min=[float(values[group].min()) for group in groups],
    )


def _steps(
    trials: pd.DataFrame, parameters: Sequence[str], radius: int, grid: Mapping[str, Iterable[Any]] | None
) -> NDArray[np.int64]:
    """Return the grid step of each parameter, one row per trial."""
    columns = []
    for name in parameters:
        values = trials[name].tolist()
        distinct = list(dict.fromkeys(values if grid is None else grid[name]))
        if all(isinstance(one, int | float) and not isinstance(one, bool) for one in distinct):
            step_of = {one: number for number, one in enumerate(sorted(distinct))}
        else:
            step_of = {one: number * (radius + 1) for number, one in enumerate(distinct)}
        if unknown := [one for one in values if one not in step_of]:
            raise BadInput(f"the grid of {name} does not have the value {unknown[0]!r} of a trial")
        columns.append([step_of[one] for one in values])
    return np.column_stack(columns).astype(np.int64)


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
