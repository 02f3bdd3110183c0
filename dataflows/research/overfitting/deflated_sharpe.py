"""Deflated Sharpe ratio: the Sharpe ratio of the best of many trials, judged by what luck alone gives.

Source: D. H. Bailey, M. López de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataflows.research.overfitting.return_arrays import as_matrix, as_series, varying_columns
from dataflows.research.overfitting.sharpe import (
    NORMAL,
    SharpeEstimate,
    estimate_sharpe,
    probabilistic_sharpe_ratio,
)
from schemas.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

EULER_MASCHERONI = 0.5772156649015329


@dataclass(frozen=True, kw_only=True)
class DeflatedSharpe:
    """The best of `trials`, with the probability that it is more than luck. Sharpe ratios are per period.

    estimate                 Sharpe ratio of the best trial
    trials                   number of trials, the best one among them
    independent_trials       the number of independent trials that give the same expected maximum
    expected_maximum_sharpe  what the best of these trials has on average without any skill
    probability              probability that the true Sharpe ratio is above `expected_maximum_sharpe`
    """

    estimate: SharpeEstimate
    trials: int
    independent_trials: float
    expected_maximum_sharpe: float
    probability: float


def expected_maximum_sharpe(trials: float, sharpe_deviation: float) -> float:
    """Return the expected maximum of the Sharpe ratios of independent trials without skill.

    deviation·((1 - γ)·Φ⁻¹(1 - 1/N) + γ·Φ⁻¹(1 - 1/(N·e))), with γ the constant of Euler and Mascheroni.
    `sharpe_deviation` is the standard deviation of the Sharpe ratios of the trials; the result has its unit. 0 for one
    trial. Raises BadInput for fewer than one trial and a negative deviation.

    >>> round(expected_maximum_sharpe(10, 1.0), 2)
    1.57
    """
    if not trials >= 1:
        raise BadInput(f"trials must be at least 1, found {trials}")
    if not 0 <= sharpe_deviation < math.inf:
        raise BadInput(f"the standard deviation of the Sharpe ratios must be 0 or more, found {sharpe_deviation}")
    if trials == 1:
        return 0.0
    first, second = NORMAL.inv_cdf(1 - 1 / trials), NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return max(0.0, sharpe_deviation * ((1 - EULER_MASCHERONI) * first + EULER_MASCHERONI * second))


def count_independent_trials(returns: ArrayLike) -> float:
    """Estimate how many independent trials correspond to trials that resemble each other.

    ρ + (1 - ρ)·N, with ρ the mean correlation between two different trials, at least 0. `returns` has one column per
    trial. Trials with constant returns do not count. Raises BadInput if all are constant.

    >>> round(count_independent_trials([[0.1, 0.2], [-0.1, -0.2], [0.3, 0.6]]), 9)  # the same trial twice
    1.0
    """
    matrix = as_matrix(returns)
    matrix = matrix[:, varying_columns(matrix)]
    trials = matrix.shape[1]
    if trials < 2:
        if trials == 0:
            raise BadInput("the returns of all trials are constant")
        return 1.0
    standardized = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    # The sum of all correlations is the variance of the sum of the standardized returns.
    total = float((standardized.sum(axis=1) ** 2).mean())
    correlation = min(max((total - trials) / (trials * (trials - 1)), 0.0), 1.0)
    return max(1.0, float(correlation + (1 - correlation) * trials))


def deflated_sharpe_ratio(
    best: SharpeEstimate, trial_sharpes: ArrayLike, independent_trials: float | None = None
) -> DeflatedSharpe:
    """Return the probability that the best of the trials has a Sharpe ratio above the maximum that luck gives.

    `trial_sharpes` are the Sharpe ratios of all trials, per period. `independent_trials` defaults to their number,
    which is strict if trials resemble each other (`count_independent_trials`). Raises BadInput for an empty list.
    """
    sharpes = as_series(trial_sharpes, name="the Sharpe ratios of the trials", length_min=1)
    independent = float(len(sharpes)) if independent_trials is None else independent_trials
    deviation = float(sharpes.std(ddof=1)) if len(sharpes) > 1 else 0.0
    maximum = expected_maximum_sharpe(independent, deviation)
    return DeflatedSharpe(
        estimate=best,
        trials=len(sharpes),
        independent_trials=independent,
        expected_maximum_sharpe=maximum,
        probability=probabilistic_sharpe_ratio(best, maximum),
    )


def deflate_best_trial(returns: ArrayLike, *, use_correlation: bool = False) -> DeflatedSharpe:
    """Return the deflated Sharpe ratio of the trial with the largest Sharpe ratio.

    `returns` has one row per period and one column per trial. `use_correlation` counts similar trials as fewer
    (`count_independent_trials`). A trial with constant returns has a Sharpe ratio of 0. Raises BadInput if all have.
    """
    matrix = as_matrix(returns, rows_min=3)
    active = varying_columns(matrix)
    if not active.any():
        raise BadInput("the returns of all trials are constant")
    sharpes = np.zeros(matrix.shape[1])
    sharpes[active] = matrix[:, active].mean(axis=0) / matrix[:, active].std(axis=0, ddof=1)
    best = int(np.where(active, sharpes, -np.inf).argmax())
    independent = count_independent_trials(matrix) if use_correlation else None
    return deflated_sharpe_ratio(estimate_sharpe(matrix[:, best]), sharpes, independent)
