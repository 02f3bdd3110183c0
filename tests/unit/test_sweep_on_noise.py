"""On prices without structure, a sweep reports that its best trial is luck. A planted edge survives.

`--long` runs twenty seeds of 200 trials and three planted edges, and prints all of them; the default is a short form.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from dataflows.research import SweepResult, sweep
from tests.sweep_strategies import PLANTED, CoinToss

NOISE_DAYS = 240
PLANTED_DAYS = 720
"""An edge with a Sharpe ratio of about 0.28 a day needs more than 240 days to be significant among 21 trials."""
SETTINGS = {
    "market_data.files.calendar": "24/7",
    "portfolio_manager.initial_capital": 1_000_000,
    "execution.venue.fee_per_share": 0,
    "execution.venue.fee_min": 0,
    "execution.venue.slippage_bps": 0,
    "risk_manager.max_daily_loss": "unlimited",
}


def write_random_walk(folder: Path, seed: int, days: int) -> Path:
    """Write daily bars. The last digit of a close is odd if the next close is higher, which only `PLANTED` reads."""
    folder.mkdir()
    generator = random.Random(seed)
    moves = [generator.gauss(0, 0.01) for _ in range(days + 1)]
    price, rows = 100.0, ["time,open,high,low,close,volume"]
    for number in range(days):
        first, price = price, price * (1 + moves[number])
        cents = 2 * round(price * 50) + (moves[number + 1] > 0)
        price = cents / 100
        day = date(2023, 1, 2) + timedelta(days=number)
        rows.append(f"{day},{first:.2f},{max(first, price):.2f},{min(first, price):.2f},{price:.2f},1000")
    (folder / "NOISE.csv").write_text("\n".join(rows) + "\n")
    return folder


def run_sweep(tmp_path: Path, seed: int, coins: list[int], days: int, monkeypatch: pytest.MonkeyPatch) -> SweepResult:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    bars = write_random_walk(tmp_path / f"bars-{seed}", seed, days)
    return sweep(CoinToss, bars, grid={"coin": coins}, settings=SETTINGS, processes=1)


def require_luck(tmp_path: Path, seeds: int, trials: int, monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, deflated = [], []
    for seed in range(seeds):
        result = run_sweep(
            tmp_path, seed, [seed * trials + number for number in range(trials)], NOISE_DAYS, monkeypatch
        )
        assert result.overfitting.pbo is not None
        assert result.overfitting.deflated_sharpe is not None
        probabilities.append(result.overfitting.pbo.probability)
        deflated.append(result.overfitting.deflated_sharpe.probability)
        print(f"seed {seed:2}: overfitting {probabilities[-1]:.3f}, deflated Sharpe {deflated[-1]:.3f}")
    print(f"mean probability of overfitting: {np.mean(probabilities):.3f}")
    assert sum(one > 0.95 for one in deflated) <= max(1, seeds // 10)
    if seeds >= 20:
        assert 0.4 <= np.mean(probabilities) <= 0.6


def test_the_best_of_a_few_coins_is_luck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_luck(tmp_path, 2, 20, monkeypatch)


@pytest.mark.long
def test_the_best_of_200_coins_is_luck_for_twenty_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_luck(tmp_path, 20, 200, monkeypatch)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_a_planted_edge_survives(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_sweep(tmp_path, seed, [*range(20), PLANTED], PLANTED_DAYS, monkeypatch)
    pbo, deflated = result.overfitting.pbo, result.overfitting.deflated_sharpe
    assert pbo is not None
    assert deflated is not None
    print(f"seed {seed}: overfitting {pbo.probability:.3f}, deflated Sharpe {deflated.probability:.3f}")
    assert result.best == {"coin": PLANTED}
    assert pbo.probability < 0.05
    assert deflated.probability > 0.95
