"""Resample returns in blocks, so that the dependence between neighbouring returns remains.

Sources: D. N. Politis, J. P. Romano (1994), The Stationary Bootstrap, Journal of the American Statistical Association
89(428); D. N. Politis, H. White (2004), Automatic Block-Length Selection, Econometric Reviews 23(1). The package arch
implements both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dataflows.research.overfitting.drawdowns import largest_drawdowns
from dataflows.research.overfitting.packages import require_package
from dataflows.research.overfitting.return_arrays import as_series, varies
from dataflows.research.overfitting.sharpe import estimate_sharpe
from schemas.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

RETURNS_MIN = 10
"""Fewer returns have no block length to estimate."""


@dataclass(frozen=True, kw_only=True)
class SharpeInterval:
    """Percentile interval of the Sharpe ratio, per period. `block_length` is the mean length of a block in periods."""

    sharpe: float
    low: float
    high: float
    confidence: float
    block_length: float
    samples: int


@dataclass(frozen=True, kw_only=True, eq=False)
class EquitySimulation:
    """Resampled equity curves, each as long as the series of returns. Arrays have one element per sample.

    growth        final equity / initial equity
    drawdown      largest fall from a peak, as a positive fraction of the peak
    block_length  mean length of a block, in periods
    """

    samples: int
    block_length: float
    growth: NDArray[np.float64] = field(repr=False)
    drawdown: NDArray[np.float64] = field(repr=False)

    @property
    def probability_of_loss(self) -> float:
        """Share of samples that end below the initial equity."""
        return float((self.growth < 1).mean())

    def probability_of_drawdown(self, limit: float) -> float:
        """Return the share of samples with a drawdown of at least `limit`, a positive fraction."""
        return float((self.drawdown >= limit).mean())


def optimal_block_length(returns: ArrayLike) -> float:
    """Estimate the mean block length for the stationary bootstrap, in periods, at least 1. Raises BadInput."""
    series = _checked(returns)
    lengths = require_package("arch.bootstrap").optimal_block_length(series)
    length = float(lengths["stationary"].iloc[0])
    return max(1.0, length) if np.isfinite(length) else 1.0


def resample_returns(
    returns: ArrayLike, *, samples: int, generator: np.random.Generator, block_length: float | None = None
) -> Iterator[NDArray[np.float64]]:
    """Return an iterator over resampled series of the same length.

    Blocks have a geometric length with the mean `block_length`, estimated by default, and continue at the start after
    the end of the series. Raises BadInput for fewer than 10 returns and for equal ones.
    """
    series = _checked(returns)
    if samples < 1:
        raise BadInput(f"samples must be at least 1, found {samples}")
    length = optimal_block_length(series) if block_length is None else block_length
    if not length >= 1:
        raise BadInput(f"the block length must be at least 1 period, found {length}")
    # arch accepts whole lengths only.
    bootstrap = require_package("arch.bootstrap").StationaryBootstrap(round(length), series, seed=generator)
    return (data[0][0] for data in bootstrap.bootstrap(samples))


def sharpe_interval(
    returns: ArrayLike,
    *,
    generator: np.random.Generator,
    samples: int = 1000,
    confidence: float = 0.95,
    block_length: float | None = None,
) -> SharpeInterval:
    """Return an interval that contains the true Sharpe ratio with `confidence`, without an assumed distribution.

    A sample in which all returns are equal counts as a Sharpe ratio of 0. Raises BadInput.
    """
    if not 0 < confidence < 1:
        raise BadInput(f"confidence must be between 0 and 1, found {confidence}")
    series = _checked(returns)
    length = optimal_block_length(series) if block_length is None else block_length
    resampled = resample_returns(series, samples=samples, generator=generator, block_length=length)
    sharpes = [float(one.mean() / one.std(ddof=1)) if varies(one) else 0.0 for one in resampled]
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(sharpes, [tail, 100 - tail])
    return SharpeInterval(
        sharpe=estimate_sharpe(series).sharpe,
        low=float(low),
        high=float(high),
        confidence=confidence,
        block_length=length,
        samples=samples,
    )


def simulate_equity(
    returns: ArrayLike, *, generator: np.random.Generator, samples: int = 1000, block_length: float | None = None
) -> EquitySimulation:
    """Simulate equity curves from resampled returns (Monte Carlo), which compound. Raises BadInput.

    A curve that falls to 0 or below stays there.
    """
    series = _checked(returns)
    length = optimal_block_length(series) if block_length is None else block_length
    growth, drawdown = [], []
    for one in resample_returns(series, samples=samples, generator=generator, block_length=length):
        curve = np.cumprod(np.maximum(1 + one, 0.0))
        growth.append(curve[-1])
        drawdown.append(largest_drawdowns(np.concatenate(([1.0], curve))[None, :])[0])
    return EquitySimulation(samples=samples, block_length=length, growth=np.array(growth), drawdown=np.array(drawdown))


def _checked(returns: ArrayLike) -> NDArray[np.float64]:
    series = as_series(returns, length_min=RETURNS_MIN)
    if not varies(series):
        raise BadInput("a series of equal returns cannot be resampled")
    return series
