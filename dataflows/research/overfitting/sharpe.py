"""Sharpe ratio with its error: probabilistic Sharpe ratio and minimum track record length.

Source: D. H. Bailey, M. López de Prado (2012), The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from dataflows.research.overfitting.return_arrays import as_series, varies
from schemas.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NORMAL = NormalDist()
"""The standard normal distribution."""


@dataclass(frozen=True, kw_only=True)
class SharpeEstimate:
    """A Sharpe ratio, and what its error depends on. Nothing is annualized; the risk-free rate is 0.

    sharpe        mean / sample standard deviation of the returns, per period
    observations  number of returns
    skewness      third standardized moment; 0 for a normal distribution
    kurtosis      fourth standardized moment; 3 for a normal distribution

    Raises BadInput if no distribution has this skewness and kurtosis.
    """

    sharpe: float
    observations: int
    skewness: float = 0.0
    kurtosis: float = 3.0

    def __post_init__(self) -> None:
        if self.observations < 2:
            raise BadInput(f"observations must be at least 2, found {self.observations}")
        kurtosis_min = 1 + self.skewness**2
        if not self.kurtosis >= kurtosis_min - 1e-9 * kurtosis_min:
            raise BadInput(
                f"kurtosis must be at least 1 + skewness² = {kurtosis_min:.6g}, found {self.kurtosis:.6g};"
                " excess kurtosis is 3 lower than kurtosis"
            )

    def annualized(self, periods_a_year: float) -> float:
        """Return the Sharpe ratio per year, such as for 252 trading days a year."""
        return self.sharpe * math.sqrt(periods_a_year)

    @property
    def standard_error(self) -> float:
        """√((1 - skewness·SR + (kurtosis - 1)/4·SR²) / (observations - 1)), per period."""
        return math.sqrt(self._variance_factor / (self.observations - 1))

    @property
    def _variance_factor(self) -> float:
        return max(1 - self.skewness * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2, 0.0)


def estimate_sharpe(returns: ArrayLike) -> SharpeEstimate:
    """Estimate the Sharpe ratio of a series of returns, one fraction per period (0.01 is 1 %).

    Raises BadInput for fewer than 3 returns and for returns that do not vary.

    >>> round(estimate_sharpe([0.01, -0.01, 0.02, 0.02]).sharpe, 6)
    0.707107
    """
    series = as_series(returns, length_min=3)
    if not varies(series):
        raise BadInput("a series of equal returns has no Sharpe ratio")
    centred = series - series.mean()
    variance = float((centred**2).mean())
    return SharpeEstimate(
        sharpe=float(series.mean() / series.std(ddof=1)),
        observations=len(series),
        skewness=float((centred**3).mean() / variance**1.5),
        kurtosis=float((centred**4).mean() / variance**2),
    )


def probabilistic_sharpe_ratio(estimate: SharpeEstimate, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio is above `benchmark` (per period).

    Φ((SR - benchmark) / standard error). Returns are taken as independent of each other.

    >>> monthly = SharpeEstimate(sharpe=0.458, observations=24, skewness=-2.448, kurtosis=10.164)
    >>> round(probabilistic_sharpe_ratio(monthly), 3)
    0.913
    """
    excess, error = estimate.sharpe - benchmark, estimate.standard_error
    if error == 0:
        return 0.5 if excess == 0 else float(excess > 0)
    return NORMAL.cdf(excess / error)


def minimum_track_record_length(
    estimate: SharpeEstimate, benchmark: float = 0.0, confidence: float = 0.95
) -> float | None:
    """Return the number of observations from which the Sharpe ratio exceeds `benchmark` with `confidence`.

    1 + (1 - skewness·SR + (kurtosis - 1)/4·SR²)·(Φ⁻¹(confidence) / (SR - benchmark))². None if the estimate is not
    above the benchmark: then no length is enough. Raises BadInput if confidence is not in [0.5, 1).

    >>> daily = SharpeEstimate(sharpe=2 / 250**0.5, observations=250)
    >>> round(minimum_track_record_length(daily, benchmark=1 / 250**0.5) / 250, 2)
    2.73
    """
    if not 0.5 <= confidence < 1:
        raise BadInput(f"confidence must be at least 0.5 and below 1, found {confidence}")
    if estimate.sharpe <= benchmark:
        return None
    return 1 + estimate._variance_factor * (NORMAL.inv_cdf(confidence) / (estimate.sharpe - benchmark)) ** 2
