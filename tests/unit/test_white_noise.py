"""White noise shows no edge: before costs, no strategy of the platform earns on random walks.

The prices move by one tick at a time, up or down with equal probability, so that a stop or limit at a tick fills at its
price exactly, and every strategy has an expected profit of zero. `--long` runs the test and prints all seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
import pytest

from operators.features import FeatureStage
from operators.fundamentals import ratios
from operators.strategies import STRATEGIES, Strategy, TargetView, TradingStrategy, reads_of
from schemas.records import Bar, FeatureRow, Fundamentals, Prediction, Record, SentimentScore, StrategyAction
from tests.builders import fundamentals, prediction, sentiment_score
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
VIEWS = ("buy_and_hold", "ema_cross", "fundamental_value", "model", "sentiment")
"""View strategies. Scores, filings and forecasts are random, and independent of the prices."""
MINUTES = 390


def random_walks(seed: int, minutes_per_day: int) -> StrategyTape:
    """Return minute bars of three independent walks of ticks, with their true highs and lows."""
    generator = np.random.default_rng(seed)
    return tape_of_steps(generator.choice((-1, 1), size=(3, MINUTES, TICKS_PER_MINUTE)), minutes_per_day)


def trending_walks(seed: int, minutes_per_day: int) -> StrategyTape:
    """Return walks with trends of 65 minutes, up or down: 51 of 100 steps go in their direction."""
    generator = np.random.default_rng(seed)
    directions = generator.choice((-1, 1), size=(3, MINUTES // 65)).repeat(65, axis=1)
    chances = 0.5 + 0.01 * directions[:, :, None]
    return tape_of_steps(_steps(generator, chances, MINUTES), minutes_per_day)


def reverting_walks(seed: int, minutes_per_day: int) -> StrategyTape:
    """Return walks that lose 7 percent of their distance from the first price in each minute."""
    generator, level = np.random.default_rng(seed), np.zeros(3)
    minutes = []
    for _ in range(MINUTES):
        chances = 0.5 - 0.07 * level[:, None, None] / (2 * TICKS_PER_MINUTE)
        minutes.append(_steps(generator, chances, 1))
        level = level + minutes[-1].sum(axis=(1, 2))
    return tape_of_steps(np.concatenate(minutes, axis=1), minutes_per_day)


def _steps(generator: np.random.Generator, chances: np.ndarray[Any, Any], minutes: int) -> np.ndarray[Any, Any]:
    """Return steps of one tick, up with these probabilities."""
    return np.where(generator.random((3, minutes, TICKS_PER_MINUTE)) < chances, 1, -1)


def tape_of_steps(steps: np.ndarray[Any, Any], minutes_per_day: int) -> StrategyTape:
    """Return the bars of three symbols from their steps by minute."""
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


def side_record(reads: tuple[type, ...], row: FeatureRow, generator: np.random.Generator) -> Record | None:
    """Return a random forecast, news score or filing, which knows nothing of the next price; None for most rows."""
    number = generator.random()
    if Prediction in reads:
        forecast = prediction(row.symbol, row.seq, row.ts_ns)
        return forecast._replace(expected_return=(number - 0.5) / 100, probability_up=number, drift=0.0)
    if SentimentScore in reads and number < 0.1:
        score = generator.choice((-1.0, 1.0))
        return sentiment_score(row.seq, row.ts_ns, row.symbol, score=score, confidence=1.0)
    if Fundamentals in reads and number < 0.1:
        eps = row.close / generator.uniform(5, 30)
        figures = {"eps": eps, "shares": 1e6, "equity": row.close * 1e6, "net_income": eps * 1e6, "debt": 0.0}
        filing = fundamentals(f"fund-{row.seq}", row.ts_ns, facts=figures, ratios=ratios(figures))
        return filing._replace(symbol=row.symbol)
    return None


def view_changes(strategy: Strategy, tape: StrategyTape, seed: int) -> np.ndarray[Any, Any]:
    """Return the change of the equity in each minute if a third of it follows the view of each symbol at once."""
    generator = np.random.default_rng(seed)
    stage, reads = FeatureStage(strategy.features), reads_of(strategy)
    states: dict[str, Any] = {}
    positions: dict[str, float] = {}
    closes: dict[str, float] = {}
    changes = []
    for ts_ns, bars in tape.slices:
        change = 0.0
        for row in (one for one in stage.on_slice(ts_ns, list(bars)) if type(one) is FeatureRow):
            symbol = row.symbol
            change += positions.get(symbol, 0.0) * (row.close / closes.get(symbol, row.close) - 1) / 3
            for record in (side_record(reads, row, generator), row):
                if record is not None and type(record) in reads:
                    states[symbol], view = strategy.decide(record, states.get(symbol))
                    positions[symbol] = view.direction * view.strength if view else positions.get(symbol, 0.0)
            closes[symbol] = row.close
        changes.append(change)
    return np.array(changes)


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


def test_every_strategy_is_tested_on_white_noise() -> None:
    assert {*PARAMETERS, *VIEWS} == set(STRATEGIES)
    assert all(issubclass(STRATEGIES[name], TradingStrategy) for name in PARAMETERS)
    assert not any(issubclass(STRATEGIES[name], TradingStrategy) for name in VIEWS)


def test_the_measure_of_views_finds_an_edge() -> None:
    """The measure can fail: a view that knows the next close has a large t-value on one short tape."""
    tape = random_walks(0, 130)
    closes = {(one.symbol, ts_ns): one.close for ts_ns, bars in tape.slices for one in bars}
    times = [ts_ns for ts_ns, _ in tape.slices]
    following = dict(pairwise(times))

    class Foresight:
        name = "foresight"
        features: tuple[str, ...] = ()

        def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
            later = closes[row.symbol, following.get(row.ts_ns, row.ts_ns)]
            return None, TargetView(1 if later > row.close else -1, 1.0, 1.0, {})

    assert t_value(view_changes(Foresight(), tape, 0)) > 10


@pytest.mark.long
@pytest.mark.parametrize("name", PARAMETERS)
def test_white_noise_shows_no_edge(name: str) -> None:
    parameters, minutes_per_day = PARAMETERS[name]
    runs = [
        equity_changes(STRATEGIES[name](**parameters), random_walks(seed, minutes_per_day)) for seed in range(SEEDS)
    ]
    check_no_edge(name, runs)


@pytest.mark.long
@pytest.mark.parametrize("name", VIEWS)
def test_white_noise_shows_no_edge_of_a_view(name: str) -> None:
    check_no_edge(name, [view_changes(STRATEGIES[name](), random_walks(seed, 130), seed) for seed in range(SEEDS)])


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("macd_trend", trending_walks),
        ("donchian_turtle", trending_walks),
        ("moving_average_ribbon", trending_walks),
        ("bollinger_reversion", reverting_walks),
    ],
)
def test_a_planted_edge_is_found_by_the_strategy_made_for_it(
    name: str, planted: Callable[[int, int], StrategyTape]
) -> None:
    parameters, minutes_per_day = PARAMETERS[name]
    runs = [equity_changes(STRATEGIES[name](**parameters), planted(seed, minutes_per_day)) for seed in range(2)]
    pooled = t_value(np.concatenate(runs))
    print(f"\n{name}: t-value {pooled:.2f} over 2 seeds of {planted.__name__}")
    assert pooled > 3.0


def check_no_edge(name: str, runs: list[np.ndarray[Any, Any]]) -> None:
    """Print the t-values of all seeds and of all together, and check the latter."""
    assert sum(changes.any() for changes in runs) > SEEDS / 2, "a strategy without trades has no edge to measure"
    pooled = t_value(np.concatenate(runs))
    seeds = " ".join(f"{t_value(changes):.1f}" for changes in runs)
    print(f"\n{name}: t-value {pooled:.2f} over {SEEDS} seeds: {seeds}")
    assert abs(pooled) <= T_VALUE_MAX
