"""White's reality check and Hansen's test of superior predictive ability (SPA).

Both test whether the best of many trials is better than a benchmark, although it was chosen because it looked best. A
small p-value says that luck is an unlikely explanation.

Sources: H. White (2000), A Reality Check for Data Snooping, Econometrica 68(5); P. R. Hansen (2005), A Test for
Superior Predictive Ability, Journal of Business & Economic Statistics 23(4). The package arch implements the bootstrap
and the three p-values. Its option `studentize` does not divide the means by their standard errors (release 8.0.0), so
this module divides the returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataflows.research.overfitting.packages import require_package
from dataflows.research.overfitting.return_arrays import as_matrix, as_series, varying_columns
from schemas.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PERIODS_MIN = 10


@dataclass(frozen=True, kw_only=True)
class SuperiorAbility:
    """p-values of the hypothesis that no trial is better than the benchmark.

    consistent  the test of Hansen; poor trials do not weaken it
    lower       assumes that trials worse than the benchmark have no effect: a lower bound
    upper       assumes that every trial is as good as the benchmark: an upper bound
    """

    consistent: float
    lower: float
    upper: float
    trials: int
    samples: int


def superior_predictive_ability(
    returns: ArrayLike,
    benchmark: ArrayLike | None = None,
    *,
    generator: np.random.Generator,
    samples: int = 1000,
    block_length: int | None = None,
) -> SuperiorAbility:
    """Test whether a trial has a larger mean return than the benchmark, in units of its standard deviation.

    `returns` has one row per period and one column per trial. `benchmark` has one return per period; the default is 0.
    `block_length` is the mean length of a block of the stationary bootstrap in periods, and defaults to the square root
    of the number of periods. Trials that differ from the benchmark by a constant are left out. The time grows with the
    square of the number of periods. Raises BadInput.
    """
    differences = _differences(returns, benchmark)
    length = _checked_length(block_length, len(differences))
    p_values = _p_values(differences / _long_run_deviations(differences, length), generator, samples, length)
    return SuperiorAbility(**p_values, trials=differences.shape[1], samples=samples)


def reality_check(
    returns: ArrayLike,
    benchmark: ArrayLike | None = None,
    *,
    generator: np.random.Generator,
    samples: int = 1000,
    block_length: int | None = None,
) -> float:
    """Return the p-value of White's reality check: without standard deviations, every trial as good as the benchmark.

    The arguments are those of `superior_predictive_ability`.
    """
    differences = _differences(returns, benchmark)
    return _p_values(differences, generator, samples, _checked_length(block_length, len(differences)))["upper"]


def _differences(returns: ArrayLike, benchmark: ArrayLike | None) -> NDArray[np.float64]:
    matrix = as_matrix(returns, rows_min=PERIODS_MIN)
    if benchmark is not None:
        reference = as_series(benchmark, name="the benchmark's returns")
        if len(reference) != len(matrix):
            raise BadInput(f"the benchmark must have {len(matrix)} returns like the trials, found {len(reference)}")
        matrix = matrix - reference[:, None]
    active = varying_columns(matrix)
    if not active.any():
        raise BadInput("all trials differ from the benchmark by a constant")
    return matrix[:, active]


def _checked_length(block_length: int | None, periods: int) -> int:
    if block_length is None:
        return max(1, round(math.sqrt(periods)))
    if not 1 <= block_length <= periods:
        raise BadInput(f"the block length must be from 1 to {periods} periods, found {block_length}")
    return block_length


def _long_run_deviations(differences: NDArray[np.float64], block_length: int) -> NDArray[np.float64]:
    """Return √(periods · variance of the mean) of each column in the stationary bootstrap (Hansen, section 3.2)."""
    periods, stay = len(differences), 1 - 1 / block_length
    centred = differences - differences.mean(axis=0)
    variances = (centred**2).sum(axis=0)
    for lag in range(1, periods):
        share = lag / periods
        weight = (1 - share) * stay**lag + share * stay ** (periods - lag)
        if weight > 1e-18:
            variances += 2 * weight * (centred[:-lag] * centred[lag:]).sum(axis=0)
    return np.asarray(np.sqrt(variances / periods))


def _p_values(
    differences: NDArray[np.float64], generator: np.random.Generator, samples: int, block_length: int
) -> dict[str, float]:
    if samples < 1:
        raise BadInput(f"samples must be at least 1, found {samples}")
    test = require_package("arch.bootstrap").SPA(
        np.zeros(len(differences)),
        -differences,  # arch compares losses
        block_size=block_length,
        reps=samples,
        seed=generator,
    )
    test.compute()
    return {name: float(test.pvalues[name]) for name in ("lower", "consistent", "upper")}
