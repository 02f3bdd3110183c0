"""Probability of backtest overfitting by combinatorially symmetric cross-validation (CSCV).

The periods are cut into S blocks. For each choice of S/2 blocks, the trial that is best on these blocks (in sample) is
looked up on the other blocks (out of sample). If the choice is worth nothing, the chosen trial is below the median of
the others in half of the cases.

Source: D. H. Bailey, J. M. Borwein, M. López de Prado, Q. J. Zhu (2017), The Probability of Backtest Overfitting,
Journal of Computational Finance 20(4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from dataflows.research.overfitting.return_arrays import as_matrix
from schemas.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BLOCKS_MAX = 20
"""20 blocks have 184,756 splits."""
_CELLS_MAX = 2_000_000
"""Splits × trials that are in memory at the same time."""

Objective = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]
"""Return one value per column of a matrix of returns; the largest is the best."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BacktestOverfitting:
    """How often the best trial in sample is below the median out of sample. Arrays have one element per split.

    probability          probability of backtest overfitting: share of logits of 0 or below
    probability_of_loss  share of splits in which the chosen trial has an objective below 0 out of sample
    slope, intercept     line through (in sample, out of sample) of the chosen trials; a negative slope means that the
                         better the result in sample, the worse out of sample. None if all values in sample are equal
    logits               ln(ω / (1 - ω)), with ω the rank of the chosen trial out of sample / (number of trials + 1)
    in_sample            objective of the chosen trial in sample
    out_of_sample        objective of the chosen trial out of sample
    chosen               column of the chosen trial
    """

    probability: float
    probability_of_loss: float
    slope: float | None
    intercept: float | None
    trials: int
    blocks: int
    logits: NDArray[np.float64] = field(repr=False)
    in_sample: NDArray[np.float64] = field(repr=False)
    out_of_sample: NDArray[np.float64] = field(repr=False)
    chosen: NDArray[np.int64] = field(repr=False)


def probability_of_overfitting(
    returns: ArrayLike, *, blocks: int = 16, objective: Objective | None = None
) -> BacktestOverfitting:
    """Compute the probability of backtest overfitting (PBO) of a set of trials.

    `returns` has one row per period, in order of time, and one column per trial. `blocks` (S) is even, from 2 to 20,
    and at most half the number of rows; blocks differ by at most one row. `objective` returns one value per column and
    receives the rows of each choice of blocks. It defaults to the Sharpe ratio per period, which is much faster;
    trials with constant returns have the Sharpe ratio 0. Raises BadInput for fewer than two trials or an invalid
    number of blocks.
    """
    matrix = as_matrix(returns)
    periods, trials = matrix.shape
    if trials < 2:
        raise BadInput("the probability of overfitting needs at least two trials, found one")
    if blocks % 2 or not 2 <= blocks <= BLOCKS_MAX:
        raise BadInput(f"blocks must be an even number from 2 to {BLOCKS_MAX}, found {blocks}")
    if periods < 2 * blocks:
        raise BadInput(f"{blocks} blocks need at least {2 * blocks} rows, found {periods}; use fewer blocks")
    edges = np.linspace(0, periods, blocks + 1).round().astype(int)
    pairs = _sharpe_pairs(matrix, edges) if objective is None else _objective_pairs(matrix, edges, objective)
    parts = [_choose(inside, outside) for inside, outside in pairs]
    chosen, in_sample, out_of_sample, ranks = (np.concatenate(column) for column in zip(*parts, strict=True))
    relative = ranks / (trials + 1)
    logits = np.log(relative / (1 - relative))
    slope, intercept = _line(in_sample, out_of_sample)
    return BacktestOverfitting(
        probability=float((logits <= 0).mean()),
        probability_of_loss=float((out_of_sample < 0).mean()),
        slope=slope,
        intercept=intercept,
        trials=trials,
        blocks=blocks,
        logits=logits,
        in_sample=in_sample,
        out_of_sample=out_of_sample,
        chosen=chosen.astype(np.int64),
    )


def _block_choices(blocks: int) -> NDArray[np.float64]:
    """Return one row per choice of half of the blocks: 1 for a block in sample, else 0."""
    rows = np.zeros((math.comb(blocks, blocks // 2), blocks))
    for row, choice in zip(rows, combinations(range(blocks), blocks // 2), strict=True):
        row[list(choice)] = 1
    return rows


def _sharpe_pairs(
    matrix: NDArray[np.float64], edges: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the Sharpe ratios in and out of sample: rows are splits, columns trials.

    The sums of the blocks are enough. Squares are those of the distance to the mean, for their precision.
    """
    mean = matrix.mean(axis=0)
    centred = matrix - mean
    noise = (1e-15 * np.maximum(1.0, np.abs(mean))) ** 2
    sums = np.add.reduceat(centred, edges[:-1], axis=0)
    squares = np.add.reduceat(centred**2, edges[:-1], axis=0)
    lengths = np.diff(edges).astype(np.float64)
    choices = _block_choices(len(lengths))
    rows = max(1, _CELLS_MAX // matrix.shape[1])

    def sharpe(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
        count, total = (blocks @ lengths)[:, None], blocks @ sums
        variance = (blocks @ squares - total**2 / count) / (count - 1)
        varies = variance > noise
        ratio = (total / count + mean) / np.sqrt(np.where(varies, variance, 1.0))
        return np.where(varies, ratio, 0.0)

    for start in range(0, len(choices), rows):
        inside = choices[start : start + rows]
        yield sharpe(inside), sharpe(1 - inside)


def _objective_pairs(
    matrix: NDArray[np.float64], edges: NDArray[np.int64], objective: Objective
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    block_of_row = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    for choice in _block_choices(len(edges) - 1):
        inside = choice[block_of_row] == 1
        values = [np.asarray(objective(matrix[rows]), dtype=np.float64) for rows in (inside, ~inside)]
        for value in values:
            if value.shape != (matrix.shape[1],) or not np.isfinite(value).all():
                raise BadInput(
                    f"the objective must return one finite number for each of {matrix.shape[1]} trials, found {value}"
                )
        yield values[0][None, :], values[1][None, :]


def _choose(
    inside: NDArray[np.float64], outside: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return for each split: chosen trial, its values in and out of sample, and its rank out of sample (1 is worst).

    Equal values share their mean rank.
    """
    splits = np.arange(len(inside))
    chosen = inside.argmax(axis=1)
    value = outside[splits, chosen]
    lower = (outside < value[:, None]).sum(axis=1)
    equal = (outside == value[:, None]).sum(axis=1)
    return chosen, inside[splits, chosen], value, lower + (equal + 1) / 2


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Return slope and intercept of the line of least squares; None for equal x."""
    centred = x - x.mean()
    variation = float((centred**2).sum())
    if variation <= 1e-24 * len(x):
        return None, None
    slope = float((centred * y).sum() / variation)
    return slope, float(y.mean() - slope * x.mean())
