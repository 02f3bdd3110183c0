"""White noise shows no edge: before costs, no strategy of the platform earns on random walks.

The prices move by one tick at a time, up or down with equal probability, so that a stop or limit at a tick fills at its
price exactly, and every strategy has an expected profit of zero. `--long` runs the test and prints all seeds.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest

from operators.strategies import STRATEGIES, TradingStrategy
from schemas.records import Bar, StrategyAction
from tests.unit.strategy_tapes import StrategyTape, tape_of
from tests.unit.trading_desk import TradingDesk

SEEDS = 20
T_VALUE_MAX = 2.5
TICKS_PER_MINUTE = 400
"""400 steps of one cent are a standard deviation of 20 cents a minute, 0.2 percent of the first price of 100."""
MINUTE_BARS = {"interval": "1m"}
PARAMETERS: dict[str, tuple[dict[str, Any], int]] = {
    "bollinger_reversion": (MINUTE_BARS, 130),
    "cross_sectional_momentum": ({"lookback": 10, "skip": 2, "top": 1}, 6),
    "donchian_turtle": (MINUTE_BARS, 130),
    "dual_momentum": ({"risky": ["A", "B"], "safe": "C", "lookback": 10}, 6),
    "grid": ({}, 130),
    "macd_trend": (MINUTE_BARS, 130),
    "moving_average_ribbon": (MINUTE_BARS, 130),
    "opening_range_breakout": ({}, 65),
    "overnight_intraday": ({}, 12),
    "pairs_reversion": ({"symbols": ["A", "B"]}, 390),
    "risk_parity": ({"period": 15}, 6),
}
"""Parameters and minutes per day of each strategy. Those that decide once a day have short days."""
MINUTES = 390


def random_walks(seed: int, minutes_per_day: int) -> StrategyTape:
    """Return minute bars of three independent walks of ticks, with their true highs and lows."""
    generator = np.random.default_rng(seed)
    steps = generator.choice((-1, 1), size=(3, MINUTES, TICKS_PER_MINUTE))
    ticks = 10_000 + steps.reshape(3, -1).cumsum(axis=1).reshape(steps.shape)
    closes = ticks[:, :, -1] / 100
    tape = tape_of([dict(zip("ABC", row, strict=True)) for row in closes.T.tolist()], minutes_per_day)
    highs, lows = ticks.max(axis=2) / 100, ticks.min(axis=2) / 100
    slices: list[tuple[int, list[Bar]]] = []
    for number, (ts_ns, bars) in enumerate(tape.slices):
        whole = [
            one._replace(high=max(one.open, float(highs[i, number])), low=min(one.open, float(lows[i, number])))
            for i, one in enumerate(bars)
        ]
        slices.append((ts_ns, whole))
    return StrategyTape(slices, tape.days)


def equity_changes(strategy: TradingStrategy, tape: StrategyTape) -> np.ndarray[Any, Any]:
    """Return the change of the equity in each minute, as a share of the capital."""
    desk, equity = TradingDesk(strategy, days=tape.days), [1.0]
    for ts_ns, bars in tape.slices:
        desk.on_slice(ts_ns, bars)
        equity.append(float(desk.strategies.accounts()[0].equity) / 100_000)
    assert "SUSPENDED" not in [one.kind for one in desk.of(StrategyAction)]
    return np.diff(equity)


def t_value(changes: np.ndarray[Any, Any]) -> float:
    """Return the sum of changes with the expectation zero in units of its standard deviation; 0 without a trade."""
    return float(changes.sum() / sqrt((changes**2).sum())) if changes.any() else 0.0


def test_every_trading_strategy_is_tested_on_white_noise() -> None:
    assert set(PARAMETERS) == {name for name, one in STRATEGIES.items() if issubclass(one, TradingStrategy)}


@pytest.mark.long
@pytest.mark.parametrize("name", PARAMETERS)
def test_white_noise_shows_no_edge(name: str) -> None:
    parameters, minutes_per_day = PARAMETERS[name]
    runs = [
        equity_changes(STRATEGIES[name](**parameters), random_walks(seed, minutes_per_day)) for seed in range(SEEDS)
    ]
    assert sum(changes.any() for changes in runs) > SEEDS / 2, "a strategy without trades has no edge to measure"
    pooled = t_value(np.concatenate(runs))
    seeds = " ".join(f"{t_value(changes):.1f}" for changes in runs)
    print(f"\n{name}: t-value {pooled:.2f} over {SEEDS} seeds: {seeds}")
    assert abs(pooled) <= T_VALUE_MAX
