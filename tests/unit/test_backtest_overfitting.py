"""The probability of backtest overfitting against a plain loop, on white noise, and with a planted edge."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from dataflows.research.overfitting import deflate_best_trial, probability_of_overfitting
from schemas.errors import BadInput

SEEDS = 20
TRIALS = 200
PERIODS = 1000
Array = np.ndarray[Any, Any]


def sharpe_by_column(returns: Array) -> Array:
    deviations = returns.std(axis=0, ddof=1)
    return np.array([m / d if d > 1e-15 else 0.0 for m, d in zip(returns.mean(axis=0), deviations, strict=True)])


def plain_cross_validation(returns: Array, blocks: int) -> tuple[list[float], list[float], list[float]]:
    """Return the logits and the values in and out of sample, as the paper describes them."""
    edges = np.linspace(0, len(returns), blocks + 1).round().astype(int)
    parts = [returns[first:last] for first, last in pairwise(edges)]
    logits, inside_values, outside_values = [], [], []
    for choice in combinations(range(blocks), blocks // 2):
        inside = sharpe_by_column(np.concatenate([parts[one] for one in choice]))
        outside = sharpe_by_column(np.concatenate([parts[one] for one in range(blocks) if one not in choice]))
        best = int(np.argmax(inside))
        relative = float(stats.rankdata(outside)[best]) / (returns.shape[1] + 1)
        logits.append(float(np.log(relative / (1 - relative))))
        inside_values.append(float(inside[best]))
        outside_values.append(float(outside[best]))
    return logits, inside_values, outside_values


@pytest.mark.parametrize(("rows", "blocks"), [(96, 8), (101, 6), (40, 2)])
def test_cross_validation_equals_a_plain_loop(rows: int, blocks: int) -> None:
    returns = np.random.default_rng(rows).normal(0.001, 0.01, (rows, 7))
    returns[:, 2] = 0.0  # never traded
    returns[:, 5] = returns[:, 4]  # equal values share their rank
    logits, inside, outside = plain_cross_validation(returns, blocks)
    for result in (
        probability_of_overfitting(returns, blocks=blocks),
        probability_of_overfitting(returns, blocks=blocks, objective=sharpe_by_column),
    ):
        assert result.logits == pytest.approx(logits, rel=1e-9, abs=1e-12)
        assert result.in_sample == pytest.approx(inside, rel=1e-9)
        assert result.out_of_sample == pytest.approx(outside, rel=1e-9)
        assert result.probability == np.mean(np.array(logits) <= 0)
        assert result.probability_of_loss == np.mean(np.array(outside) < 0)
        line = stats.linregress(inside, outside)
        assert (result.slope, result.intercept) == pytest.approx((line.slope, line.intercept), rel=1e-7)


def test_a_hand_computed_example() -> None:
    """Trial 0 wins in the first half and loses in the second, trial 1 the other way round: always overfitted."""
    up, down = [0.02, 0.01], [-0.01, -0.02]
    returns = np.array([[*up, *down], [*down, *up]]).T
    result = probability_of_overfitting(returns, blocks=2)
    assert result.chosen.tolist() == [0, 1]
    assert result.probability == result.probability_of_loss == 1.0
    assert result.logits == pytest.approx([np.log(0.5)] * 2)  # rank 1 of 2: 1/3 against 2/3
    assert (result.slope, result.intercept) == (None, None)


def test_white_noise_is_found_to_be_luck() -> None:
    """200 random long or short strategies on each of twenty random markets."""
    probabilities, deflated = [], []
    for seed in range(SEEDS):
        generator = np.random.default_rng(seed)
        market = generator.normal(0, 0.01, (PERIODS, 1))
        returns = market * generator.choice((-1.0, 1.0), (PERIODS, TRIALS))
        probabilities.append(probability_of_overfitting(returns, blocks=12).probability)
        deflated.append(deflate_best_trial(returns).probability)
    print(f"\nprobability of overfitting: mean {np.mean(probabilities):.3f}")
    for seed, (probability, best) in enumerate(zip(probabilities, deflated, strict=True)):
        print(f"seed {seed:2}: overfitting {probability:.3f}, deflated Sharpe {best:.3f}")
    assert 0.4 <= np.mean(probabilities) <= 0.6
    assert sum(best > 0.95 for best in deflated) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_edge_survives(seed: int) -> None:
    """One strategy of 200 is right in 65 % of the periods: a Sharpe ratio of about 0.24 per day, 3.8 per year."""
    generator = np.random.default_rng(1000 + seed)
    market = generator.normal(0, 0.01, (PERIODS, 1))
    positions = generator.choice((-1.0, 1.0), (PERIODS, TRIALS))
    positions[:, 17] = np.where(generator.random(PERIODS) < 0.65, 1, -1) * np.sign(market[:, 0])
    returns = market * positions
    result, deflated = probability_of_overfitting(returns, blocks=12), deflate_best_trial(returns)
    print(f"\nseed {seed}: overfitting {result.probability:.3f}, deflated Sharpe {deflated.probability:.3f}")
    assert deflated.estimate.sharpe == pytest.approx(returns[:, 17].mean() / returns[:, 17].std(ddof=1))
    assert deflated.probability > 0.95
    assert result.probability < 0.05
    assert np.mean(result.chosen == 17) > 0.9


@hypothesis_settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 9), st.sampled_from([2, 4, 6]), st.integers(0, 30), st.floats(0.1, 10))
def test_the_result_does_not_depend_on_scale_or_order_of_the_trials(
    seed: int, trials: int, blocks: int, extra: int, scale: float
) -> None:
    generator = np.random.default_rng(seed)
    returns = generator.normal(0.0, 0.01, (2 * blocks + extra, trials))
    result = probability_of_overfitting(returns, blocks=blocks)
    order = generator.permutation(trials)
    other = probability_of_overfitting(scale * returns[:, order], blocks=blocks)
    assert 0 <= result.probability <= 1
    assert other.logits == pytest.approx(result.logits)
    assert other.in_sample == pytest.approx(result.in_sample)


@pytest.mark.parametrize(
    ("shape", "blocks", "message"),
    [
        ((100, 1), 4, "at least two trials"),
        ((100, 5), 5, "even number from 2 to 20, found 5"),
        ((100, 5), 22, "even number from 2 to 20, found 22"),
        ((10, 5), 8, "8 blocks need at least 16 rows, found 10"),
    ],
)
def test_bad_arguments_give_one_sentence(shape: tuple[int, int], blocks: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        probability_of_overfitting(np.random.default_rng(0).normal(size=shape), blocks=blocks)


def test_an_objective_must_return_one_number_per_trial() -> None:
    returns = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(BadInput, match="one finite number for each of 3 trials"):
        probability_of_overfitting(returns, blocks=2, objective=lambda rows: rows.mean(axis=1))
