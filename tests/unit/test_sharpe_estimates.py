"""Probabilistic and deflated Sharpe ratios against the figures of the papers and against other computations."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from dataflows.research.overfitting import (
    SharpeEstimate,
    count_independent_trials,
    deflate_best_trial,
    deflated_sharpe_ratio,
    estimate_sharpe,
    expected_maximum_sharpe,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
)
from operators.performance_metrics import return_metrics
from schemas.errors import BadInput

DAYS, WEEKS, MONTHS = 250, 52, 12


def annual(sharpe: float, periods: int, skewness: float = 0.0, kurtosis: float = 3.0) -> SharpeEstimate:
    """An annualized Sharpe ratio over five years."""
    return SharpeEstimate(
        sharpe=sharpe / math.sqrt(periods), observations=5 * periods, skewness=skewness, kurtosis=kurtosis
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_estimate_has_the_moments_of_scipy_and_the_ratio_of_the_platform(seed: int) -> None:
    returns = np.random.default_rng(seed).standard_t(5, 300) / 100
    estimate = estimate_sharpe(returns)
    assert estimate.observations == 300
    assert estimate.skewness == pytest.approx(stats.skew(returns), rel=1e-9)
    assert estimate.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-9)
    assert estimate.annualized(252) == pytest.approx(return_metrics(returns.tolist(), 252).sharpe, rel=1e-9)


@pytest.mark.parametrize(("skewness", "kurtosis", "published"), [(-2.448, 10.164, 0.913), (0.0, 3.0, 0.982)])
def test_probabilistic_sharpe_ratio_has_the_values_of_the_paper(
    skewness: float, kurtosis: float, published: float
) -> None:
    """Bailey and López de Prado (2012): two years of monthly returns, with and without their skewness and kurtosis."""
    estimate = SharpeEstimate(sharpe=0.458, observations=24, skewness=skewness, kurtosis=kurtosis)
    assert probabilistic_sharpe_ratio(estimate) == pytest.approx(published, abs=0.0005)


@pytest.mark.parametrize(
    ("periods", "skewness", "kurtosis", "published_years"),
    [(DAYS, 0.0, 3.0, 2.73), (WEEKS, 0.0, 3.0, 2.83), (MONTHS, 0.0, 3.0, 3.24), (MONTHS, -0.72, 5.78, 4.99)],
)
def test_minimum_track_record_length_has_the_values_of_the_paper(
    periods: int, skewness: float, kurtosis: float, published_years: float
) -> None:
    """Bailey and López de Prado (2012): an annual Sharpe ratio of 2 against 1, with 95 % confidence."""
    length = minimum_track_record_length(annual(2, periods, skewness, kurtosis), 1 / math.sqrt(periods))
    assert length is not None
    assert length / periods == pytest.approx(published_years, abs=0.005)


@pytest.mark.parametrize(
    ("trials", "skewness", "kurtosis", "published"),
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_deflated_sharpe_ratio_has_the_values_of_the_paper(
    trials: int, skewness: float, kurtosis: float, published: float
) -> None:
    """Bailey and López de Prado (2014): an annual Sharpe ratio of 2.5, with a variance of 1/2 between the trials."""
    sharpes = np.array([1.0, -1.0] * (trials // 2))
    sharpes *= math.sqrt(0.5 / DAYS) / sharpes.std(ddof=1)
    deflated = deflated_sharpe_ratio(annual(2.5, DAYS, skewness, kurtosis), sharpes)
    assert deflated.trials == deflated.independent_trials == trials
    assert deflated.probability == pytest.approx(published, abs=0.00005)
    if trials == 100:
        assert deflated.expected_maximum_sharpe == pytest.approx(0.1132, abs=0.00005)


@pytest.mark.parametrize("trials", [10, 45, 200, 2000])
def test_expected_maximum_is_close_to_that_of_normal_variables(trials: int) -> None:
    """The exact expectation is the integral of the quantiles over the N-th power of the distribution."""
    normal = NormalDist()
    exact, _ = integrate.quad(
        lambda x: x * trials * normal.cdf(x) ** (trials - 1) * normal.pdf(x), -8, 10, points=[0, 2, 4], limit=200
    )
    assert expected_maximum_sharpe(trials, 1.0) == pytest.approx(exact, rel=0.025)


def test_one_trial_is_not_deflated() -> None:
    estimate = annual(1, DAYS)
    deflated = deflated_sharpe_ratio(estimate, [estimate.sharpe])
    assert deflated.expected_maximum_sharpe == 0
    assert deflated.probability == probabilistic_sharpe_ratio(estimate)


@pytest.mark.parametrize("seed", range(3))
def test_independent_trials_are_those_of_the_mean_correlation(seed: int) -> None:
    generator = np.random.default_rng(seed)
    returns = generator.normal(size=(200, 12)) + generator.normal(size=(200, 1))
    matrix = np.asarray(np.corrcoef(returns, rowvar=False))
    mean = float(matrix[~np.eye(12, dtype=bool)].mean())
    assert 0.3 < mean < 0.7
    assert count_independent_trials(returns) == pytest.approx(mean + (1 - mean) * 12, rel=1e-9)


def test_the_best_trial_is_deflated_by_all_trials() -> None:
    returns = np.random.default_rng(5).normal(0.0, 0.01, (500, 20))
    returns[:, 7] += 0.002
    returns[:, 3] = 0.0  # never traded
    deflated = deflate_best_trial(returns)
    sharpes = [0.0 if number == 3 else estimate_sharpe(returns[:, number]).sharpe for number in range(20)]
    assert deflated == deflated_sharpe_ratio(estimate_sharpe(returns[:, 7]), sharpes)
    assert deflate_best_trial(returns, use_correlation=True).independent_trials == count_independent_trials(returns)


@given(
    sharpe=st.floats(-1, 1),
    skewness=st.floats(-3, 3),
    excess=st.floats(0, 20),
    observations=st.integers(3, 10_000),
    benchmark=st.floats(-1, 1),
    step=st.floats(0, 1),
)
def test_a_higher_benchmark_is_less_probable(
    sharpe: float, skewness: float, excess: float, observations: int, benchmark: float, step: float
) -> None:
    estimate = SharpeEstimate(
        sharpe=sharpe, observations=observations, skewness=skewness, kurtosis=1 + skewness**2 + excess
    )
    probability = probabilistic_sharpe_ratio(estimate, benchmark)
    assert 0 <= probabilistic_sharpe_ratio(estimate, benchmark + step) <= probability <= 1


@given(
    sharpe=st.floats(0.01, 1), skewness=st.floats(-3, 3), excess=st.floats(0.1, 20), confidence=st.floats(0.51, 0.999)
)
def test_at_the_minimum_length_the_probability_is_the_confidence(
    sharpe: float, skewness: float, excess: float, confidence: float
) -> None:
    estimate = SharpeEstimate(sharpe=sharpe, observations=100, skewness=skewness, kurtosis=1 + skewness**2 + excess)
    length = minimum_track_record_length(estimate, confidence=confidence)
    assert length is not None
    z = sharpe / (estimate.standard_error * math.sqrt(99 / (length - 1)))
    assert NormalDist().cdf(z) == pytest.approx(confidence, rel=1e-9)


@given(st.floats(1, 1e6), st.floats(1, 2), st.floats(0, 10))
def test_more_trials_have_a_larger_expected_maximum(trials: float, factor: float, deviation: float) -> None:
    fewer, more = (expected_maximum_sharpe(number, deviation) for number in (trials, trials * factor))
    assert 0 <= fewer <= more + 1e-12


def test_no_length_is_enough_below_the_benchmark() -> None:
    assert minimum_track_record_length(annual(1, DAYS), 2.0) is None


def test_two_values_without_noise_are_certain() -> None:
    """Of two possible returns, the kurtosis is 1 + skewness²; with SR = 2 / skewness, the error of the ratio is 0."""
    certain = SharpeEstimate(sharpe=1.0, observations=10, skewness=2.0, kurtosis=5.0)
    assert certain.standard_error == 0
    assert [probabilistic_sharpe_ratio(certain, one) for one in (0.0, 1.0, 2.0)] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ([0.01, 0.02], "at least 3 values, found 2"),
        ([0.01, 0.01, 0.01], "equal returns has no Sharpe ratio"),
        ([0.01, math.nan, 0.02], "finite numbers, found 1"),
        ([[0.01, 0.02]], "one series, found an array with 2 dimensions"),
        (["a", "b", "c"], "must be numbers"),
    ],
)
def test_bad_returns_give_one_sentence(returns: list[float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        estimate_sharpe(returns)


def test_excess_kurtosis_is_refused() -> None:
    with pytest.raises(BadInput, match="excess kurtosis is 3 lower than kurtosis"):
        SharpeEstimate(sharpe=0.1, observations=10, kurtosis=0.0)
    with pytest.raises(BadInput, match=r"confidence must be at least 0.5"):
        minimum_track_record_length(annual(1, DAYS), confidence=1.0)
    with pytest.raises(BadInput, match="trials must be at least 1"):
        expected_maximum_sharpe(0.5, 1.0)
    with pytest.raises(BadInput, match="trials are constant"):
        deflate_best_trial(np.zeros((5, 2)))
