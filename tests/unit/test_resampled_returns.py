"""Block bootstrap, reality check, shuffled trades, random entries and plateaus against other computations."""

from __future__ import annotations

import importlib
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dataflows.research.overfitting import (
    compare_random_entries,
    estimate_sharpe,
    neighbourhoods,
    optimal_block_length,
    reality_check,
    resample_returns,
    sharpe_interval,
    shuffle_trades,
    simulate_equity,
    superior_predictive_ability,
)
from operators.performance_metrics import largest_drawdown
from schemas.errors import BadInput

Array = np.ndarray[Any, Any]


def autoregressive(generator: np.random.Generator, length: int, coefficient: float) -> Array:
    values = np.zeros(length)
    for number, shock in enumerate(generator.normal(0, 0.01, length)):
        values[number] = shock + (coefficient * values[number - 1] if number else 0.0)
    return values


# -- block bootstrap -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_length", [1, 5, 20])
def test_the_mean_of_resampled_returns_has_the_variance_of_the_paper(block_length: int) -> None:
    """Politis and Romano (1994), lemma 1: the variance follows from the circular autocovariances."""
    returns = autoregressive(np.random.default_rng(3), 250, 0.5)
    n, p = len(returns), 1 / block_length
    centred = returns - returns.mean()
    covariances = np.array([(centred * np.roll(centred, -lag)).mean() for lag in range(n)])
    lags = np.arange(1, n)
    expected = (covariances[0] + 2 * ((1 - lags / n) * (1 - p) ** lags * covariances[1:]).sum()) / n
    means = [
        one.mean()
        for one in resample_returns(
            returns, samples=4000, generator=np.random.default_rng(1), block_length=block_length
        )
    ]
    assert np.mean(means) == pytest.approx(returns.mean(), abs=4 * np.sqrt(expected / 4000))
    assert np.var(means) == pytest.approx(expected, rel=0.1)


def test_dependent_returns_have_longer_blocks() -> None:
    generator = np.random.default_rng(4)
    independent, dependent = (autoregressive(generator, 1000, coefficient) for coefficient in (0.0, 0.8))
    assert 1 <= optimal_block_length(independent) < optimal_block_length(dependent)


def test_the_interval_of_the_sharpe_ratio_has_the_error_of_independent_returns() -> None:
    returns = np.random.default_rng(6).normal(0.0005, 0.01, 1000)
    interval = sharpe_interval(returns, generator=np.random.default_rng(0), samples=2000, block_length=1)
    estimate = estimate_sharpe(returns)
    assert interval.sharpe == estimate.sharpe
    assert interval.low < estimate.sharpe < interval.high
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * estimate.standard_error, rel=0.1)


def test_simulated_equity_has_the_growth_and_drawdown_of_each_sample() -> None:
    returns = np.random.default_rng(7).normal(0.0, 0.02, 100)
    simulation = simulate_equity(returns, generator=np.random.default_rng(2), samples=50, block_length=5)
    samples = list(resample_returns(returns, generator=np.random.default_rng(2), samples=50, block_length=5))
    assert simulation.growth == pytest.approx([np.prod(1 + one) for one in samples])
    assert simulation.drawdown == pytest.approx([largest_drawdown(one.tolist()) for one in samples])
    assert simulation.probability_of_loss == np.mean(simulation.growth < 1)
    assert simulation.probability_of_drawdown(0.2) == np.mean(simulation.drawdown >= 0.2)


def test_the_same_generator_gives_the_same_samples() -> None:
    returns = np.random.default_rng(8).normal(0.0, 0.02, 60)
    first, again, other = (
        simulate_equity(returns, generator=np.random.default_rng(seed), samples=20).growth for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_equity_stays_at_zero_after_a_total_loss() -> None:
    returns = [0.01, -1.5, 0.5, 0.02, -0.01, 0.03, 0.01, 0.01, 0.02, 0.01]
    simulation = simulate_equity(returns, generator=np.random.default_rng(0), samples=200, block_length=2)
    assert simulation.growth.min() == 0
    assert simulation.drawdown.max() == 1


def test_bad_bootstrap_arguments_give_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, returns = np.random.default_rng(0), np.random.default_rng(1).normal(size=20)
    with pytest.raises(BadInput, match="at least 10 values, found 3"):
        simulate_equity([0.1, 0.2, 0.3], generator=generator)
    with pytest.raises(BadInput, match="equal returns cannot be resampled"):
        simulate_equity([0.1] * 20, generator=generator)
    with pytest.raises(BadInput, match="samples must be at least 1, found 0"):
        resample_returns(returns, samples=0, generator=generator)
    with pytest.raises(BadInput, match=r"block length must be at least 1 period, found 0.5"):
        resample_returns(returns, samples=1, generator=generator, block_length=0.5)
    with pytest.raises(BadInput, match="confidence must be between 0 and 1"):
        sharpe_interval(returns, generator=generator, confidence=95)

    def fail(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(BadInput, match=r"arch\.bootstrap is not installed; .*requirements-research\.txt"):
        optimal_block_length(returns)


# -- reality check -------------------------------------------------------------------------------------------------


def resampled_rows(generator: np.random.Generator, length: int, block_length: int) -> Array:
    """Return row numbers of a stationary bootstrap, one draw at a time."""
    rows = [int(generator.integers(length))]
    while len(rows) < length:
        starts_block = generator.random() < 1 / block_length
        rows.append(int(generator.integers(length)) if starts_block else (rows[-1] + 1) % length)
    return np.array(rows)


def plain_tests(differences: Array, block_length: int, samples: int) -> tuple[float, float]:
    """Return the p-values of the reality check and of Hansen's consistent test, by the formulas of the papers."""
    n, means = len(differences), differences.mean(axis=0)
    centred, p, lags = differences - means, 1 / block_length, np.arange(1, n)
    kernel = (n - lags) / n * (1 - p) ** lags + lags / n * (1 - p) ** (n - lags)
    covariances = np.array([(centred[: n - lag] * centred[lag:]).sum(axis=0) / n for lag in range(n)])
    deviations = np.sqrt(covariances[0] + 2 * (kernel[:, None] * covariances[1:]).sum(axis=0))
    is_good = np.sqrt(n) * means / deviations >= -np.sqrt(2 * np.log(np.log(n)))
    white, hansen = np.sqrt(n) * means.max(), max(0.0, float((np.sqrt(n) * means / deviations).max()))
    generator, white_samples, hansen_samples = np.random.default_rng(99), [], []
    for _ in range(samples):
        sample = differences[resampled_rows(generator, n, block_length)].mean(axis=0)
        white_samples.append(np.sqrt(n) * (sample - means).max())
        hansen_samples.append(max(0.0, float((np.sqrt(n) * (sample - means * is_good) / deviations).max())))
    return float(np.mean(white_samples > white)), float(np.mean(np.array(hansen_samples) > hansen))


@pytest.mark.parametrize(("edge", "seed"), [(0.0, 0), (0.0008, 1), (0.0016, 2)])
def test_p_values_are_close_to_those_of_the_formulas(edge: float, seed: int) -> None:
    """Two Monte Carlo estimates with 1500 samples each differ by less than 0.055 (three standard errors)."""
    returns = np.random.default_rng(seed).normal(0, 0.01, (200, 8))
    returns[:, 0] += edge
    returns[:, 1] = 5 * returns[:, 1] - 0.004  # a poor and volatile trial
    white, hansen = plain_tests(returns, 4, 1500)
    arguments: dict[str, Any] = {"samples": 1500, "block_length": 4}
    tested = superior_predictive_ability(returns, generator=np.random.default_rng(0), **arguments)
    checked = reality_check(returns, generator=np.random.default_rng(0), **arguments)
    print(f"\nedge {edge}: White {white:.3f} {checked:.3f}, Hansen {hansen:.3f} {tested.consistent:.3f}")
    assert checked == pytest.approx(white, abs=0.055)
    assert tested.consistent == pytest.approx(hansen, abs=0.055)
    assert tested.lower <= tested.consistent <= tested.upper


def test_a_planted_edge_is_significant_and_its_benchmark_removes_it() -> None:
    returns = np.random.default_rng(3).normal(0, 0.01, (500, 20))
    returns[:, 4] += 0.003
    significant = superior_predictive_ability(returns, generator=np.random.default_rng(0))
    against_itself = superior_predictive_ability(returns, returns[:, 4], generator=np.random.default_rng(0))
    assert significant.consistent < 0.01
    assert (significant.trials, against_itself.trials) == (20, 19)
    assert against_itself.consistent > 0.5


def test_bad_reality_check_arguments_give_one_sentence() -> None:
    generator, returns = np.random.default_rng(0), np.random.default_rng(1).normal(size=(20, 3))
    with pytest.raises(BadInput, match="benchmark must have 20 returns like the trials, found 19"):
        reality_check(returns, returns[1:, 0], generator=generator)
    with pytest.raises(BadInput, match="all trials differ from the benchmark by a constant"):
        reality_check(np.ones((20, 2)), generator=generator)
    with pytest.raises(BadInput, match="block length must be from 1 to 20 periods, found 21"):
        superior_predictive_ability(returns, generator=generator, block_length=21)
    with pytest.raises(BadInput, match="at least 10 rows, found 5"):
        superior_predictive_ability(returns[:5], generator=generator)


# -- shuffled trades -----------------------------------------------------------------------------------------------


def test_shuffled_trades_have_the_drawdowns_of_all_orders() -> None:
    profits, equity = [100.0, -60.0, 30.0, -80.0, 50.0], 1000.0

    def drawdown(order: tuple[float, ...]) -> float:
        curve = np.concatenate([[equity], equity + np.cumsum(order)])
        return largest_drawdown((curve[1:] / curve[:-1] - 1).tolist())

    exact = np.array([drawdown(order) for order in permutations(profits)])
    result = shuffle_trades(profits, equity, generator=np.random.default_rng(0), shuffles=20_000)
    assert result.drawdown == pytest.approx(drawdown(tuple(profits)))
    assert (len(result.drawdowns), result.trades) == (20_000, 5)
    assert sorted(set(result.drawdowns.round(9))) == sorted(set(exact.round(9)))
    for limit in (0.075, 0.085, 0.125):
        assert result.probability_of_drawdown(limit) == pytest.approx(np.mean(exact >= limit), abs=0.015)


@given(st.lists(st.floats(-50, 100), min_size=1, max_size=30), st.integers(0, 100))
def test_no_order_has_a_larger_drawdown_than_all_losses_first(profits: list[float], seed: int) -> None:
    equity = 5000.0
    result = shuffle_trades(profits, equity, generator=np.random.default_rng(seed), shuffles=50)
    losses = -sum(one for one in profits if one < 0)
    assert result.drawdowns.min() >= 0
    assert result.drawdowns.max() <= losses / equity + 1e-9
    assert 0 <= result.share_below <= 1


def test_bad_trades_give_one_sentence() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(BadInput, match="profits must have at least 1 values, found 0"):
        shuffle_trades([], 100, generator=generator)
    with pytest.raises(BadInput, match="initial equity must be above 0, found 0"):
        shuffle_trades([1.0], 0, generator=generator)


# -- random entries ------------------------------------------------------------------------------------------------


def bars_of(closes: Array | list[float], symbol: str = "A") -> pd.DataFrame:
    times = pd.date_range("2026-01-05 14:30", periods=len(closes), freq="min", tz="UTC")
    return pd.DataFrame({"time": times, "symbol": symbol, "close": closes})


def trades_at(bars: pd.DataFrame, entries: list[int], exits: list[int], side: str = "LONG") -> pd.DataFrame:
    closes, times = bars["close"].to_numpy(), bars["time"]
    return pd.DataFrame(
        {
            "symbol": bars["symbol"].iloc[0],
            "side": side,
            "quantity": 10.0,
            "entry_time": times.iloc[entries].to_numpy(),
            "entry_price": closes[entries],
            "exit_time": times.iloc[exits].to_numpy(),
            "exit_price": closes[exits],
        }
    )


def test_random_entries_have_the_profits_of_all_possible_entries() -> None:
    """A trade of two bars on four closes has two possible entries: profits of 10 × 3 and 10 × -1."""
    bars = bars_of([100.0, 102.0, 103.0, 101.0])
    result = compare_random_entries(trades_at(bars, [0], [2]), bars, generator=np.random.default_rng(0), samples=2000)
    assert result.profit == 30
    assert set(result.random_profit) == {30.0, -10.0}
    assert result.p_value == pytest.approx(0.5, abs=0.05)
    short = compare_random_entries(
        trades_at(bars, [0], [2], "SHORT"), bars, generator=np.random.default_rng(0), multipliers={"A": 50.0}
    )
    assert short.profit == -1500
    assert set(short.random_profit) == {-1500.0, 500.0}


def test_times_may_be_nanoseconds() -> None:
    bars = bars_of([100.0, 102.0, 103.0, 101.0])
    trades = trades_at(bars, [0], [2])
    expected = compare_random_entries(trades, bars, generator=np.random.default_rng(0))
    for frame, columns in ((bars, ["time"]), (trades, ["entry_time", "exit_time"])):
        for name in columns:
            frame[name] = pd.DatetimeIndex(frame[name]).as_unit("ns").asi8
    numbers = compare_random_entries(trades, bars, generator=np.random.default_rng(0))
    assert (numbers.random_profit == expected.random_profit).all()


def test_entries_that_know_the_future_are_better_than_random_ones() -> None:
    generator = np.random.default_rng(5)
    bars = bars_of(100 + generator.normal(0, 1, 500).cumsum())
    closes = bars["close"].to_numpy()
    known = [one for one in range(0, 490, 5) if closes[one + 3] > closes[one]]
    times = [generator.integers(0, 490, 60).tolist() for _ in range(20)]
    known_p, *random_p = (
        compare_random_entries(trades_at(bars, one, [x + 3 for x in one]), bars, generator=generator).p_value
        for one in (known, *times)
    )
    assert known_p < 0.01
    assert 0.3 < np.mean(random_p) < 0.7


def test_bad_trade_tables_give_one_sentence() -> None:
    generator, bars = np.random.default_rng(0), bars_of([100.0, 102.0, 103.0, 101.0])
    trades = trades_at(bars, [0], [2])
    with pytest.raises(BadInput, match=r"trades must have the columns .*; missing side, found symbol, quantity"):
        compare_random_entries(trades.drop(columns="side"), bars, generator=generator)
    with pytest.raises(BadInput, match="no trades to compare"):
        compare_random_entries(trades.iloc[:0], bars, generator=generator)
    with pytest.raises(BadInput, match="no bars of B, which was traded"):
        compare_random_entries(trades.assign(symbol="B"), bars, generator=generator)
    with pytest.raises(BadInput, match="must be LONG or SHORT, found 'BUY'"):
        compare_random_entries(trades.assign(side="BUY"), bars, generator=generator)
    with pytest.raises(BadInput, match="lasts 3 bars, but there are only 3 bars"):
        compare_random_entries(trades_at(bars, [0], [3]), bars.iloc[:3], generator=generator)


# -- plateaus ------------------------------------------------------------------------------------------------------


@hypothesis_settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=20, unique=True),
    st.integers(0, 1000),
    st.integers(1, 2),
)
def test_neighbourhoods_equal_a_plain_loop(sets: list[tuple[int, int]], seed: int, radius: int) -> None:
    objective = np.random.default_rng(seed).normal(size=len(sets))
    trials = pd.DataFrame(
        {"fast": [10 * one for one, _ in sets], "slow": [2.0**one for _, one in sets], "o": objective}
    )
    fast, slow = (sorted(set(trials[name])) for name in ("fast", "slow"))
    steps = [(fast.index(one.fast), slow.index(one.slow)) for one in trials.itertuples()]
    result = neighbourhoods(trials, ["fast", "slow"], "o", radius=radius)
    found = {(row.fast, row.slow): row for row in result.itertuples()}
    for (x, y), row in zip(steps, trials.itertuples(), strict=True):
        near = [
            value
            for (a, b), value in zip(steps, objective, strict=True)
            if abs(a - x) <= radius and abs(b - y) <= radius
        ]
        one = found[row.fast, row.slow]
        assert (one.neighbours, one.neighbourhood_min) == (len(near) - 1, min(near))
        assert one.neighbourhood_mean == pytest.approx(np.mean(near))
    assert result["neighbourhood_mean"].is_monotonic_decreasing


def test_a_plateau_is_ranked_above_a_peak() -> None:
    grid = [(one, other) for one in range(9) for other in range(9)]
    height = {(x, y): 1.0 for x in range(3) for y in range(3)} | {(7, 7): 2.0}
    trials = pd.DataFrame([(x, y, height.get((x, y), 0.0)) for x, y in grid], columns=["x", "y", "sharpe"])
    best = neighbourhoods(trials, ["x", "y"], "sharpe").iloc[0]
    assert max(height, key=lambda one: height[one]) == (7, 7)
    assert best["sharpe"] == best["neighbourhood_min"] == 1.0


def test_bad_grids_give_one_sentence() -> None:
    trials = pd.DataFrame({"fast": [1, 2, 2], "sharpe": [0.1, 0.2, 0.3]})
    with pytest.raises(BadInput, match=r"no column 'fst'; did you mean fast?"):
        neighbourhoods(trials, ["fst"], "sharpe")
    with pytest.raises(BadInput, match="parameter set fast=2 occurs more than once"):
        neighbourhoods(trials, ["fast"], "sharpe")
    with pytest.raises(BadInput, match="radius must be at least 1"):
        neighbourhoods(trials.iloc[:2], ["fast"], "sharpe", radius=0)
    with pytest.raises(BadInput, match="finite number in every row, found 1 not"):
        neighbourhoods(trials.iloc[:2].assign(sharpe=[np.nan, 1]), ["fast"], "sharpe")
