"""The cost of a time slice with a trading strategy over 500 symbols, and of a stage without strategies."""

from __future__ import annotations

import random
import time
from typing import Any

from operators.strategies import TradingStrategy
from operators.trading.stage import TradingStrategyStage
from schemas.records import Record, StrategyAction
from tests.builders import bar, feature_row
from tests.performance.conftest import RecordFigure
from tests.performance.reference_speed import decimal_us

SYMBOLS = tuple(f"S{number:03}" for number in range(500))
SLICES = 40
MINUTE_NS = 60 * 10**9
SLICE_COST_MAX = 350_000
"""In multiples of `decimal_us`: 20 ms where a Decimal multiplication takes 57 ns."""


class Ranking(TradingStrategy):
    """Hold the ten symbols with the highest return over an hour that are above their average."""

    symbols = SYMBOLS
    features = {"1m": ("sma_20",), "15m": ("ema_5",)}  # noqa: RUF012  (never changed)
    history = {"1m": 60}  # noqa: RUF012  (never changed)
    warm_up = 5

    def on_slice(self, ctx: Any) -> None:
        returns = {}
        for symbol in ctx.universe:
            price, average, closes = ctx.bar(symbol), ctx.feature(symbol, "sma_20"), ctx.history(symbol)["close"]
            if price is not None and average is not None and price.close >= average:
                returns[symbol] = closes[-1] / closes[0] - 1
        best = sorted(returns, key=lambda symbol: returns[symbol])[-10:]
        for symbol in ctx.state.get("held", []):
            if symbol not in best:
                ctx.target_weight(symbol, 0)
        for symbol in best:
            if symbol not in ctx.state.get("held", []):
                ctx.target_weight(symbol, 0.1)
        ctx.state["held"], ctx.state["returns"] = best, returns


def time_slices() -> list[list[Record]]:
    rng, prices, slices = random.Random(1), [100.0] * len(SYMBOLS), list[list[Record]]()
    for number in range(1, SLICES + 1):
        ts_ns = number * MINUTE_NS
        prices = [price * (1 + rng.gauss(0, 0.001)) for price in prices]
        market: list[Record] = [
            bar(symbol, number, ts_ns, price) for symbol, price in zip(SYMBOLS, prices, strict=True)
        ]
        rows: list[Record] = [feature_row(symbol, number, ts_ns, values={"sma_20": 100.0}) for symbol in SYMBOLS]
        slices.append(market + rows)
    return slices


def slice_us(stage: TradingStrategyStage, slices: list[list[Record]]) -> tuple[float, int]:
    """Return the median processor time of a time slice in microseconds, and the number of actions."""
    durations, actions = [], 0
    for number, records in enumerate(slices, start=1):
        started = time.process_time_ns()
        published = stage.on_slice(number * MINUTE_NS, records)
        durations.append((time.process_time_ns() - started) / 1000)
        actions += sum(type(record) is StrategyAction for record in published)
    return sorted(durations)[len(durations) // 2], actions


def test_a_time_slice_of_500_symbols(figure: RecordFigure) -> None:
    slices = time_slices()
    rounds = [slice_us(TradingStrategyStage([Ranking()]), slices) for _ in range(3)]
    best_us, actions = min(rounds)
    figure("a trading strategy, time slice of 500 symbols", f"p50 {best_us / 1000:.1f} ms")
    assert actions > 0, "the strategy trades"
    assert best_us < SLICE_COST_MAX * decimal_us()


def test_a_stage_without_strategies_costs_nothing(figure: RecordFigure) -> None:
    best_us = min(slice_us(TradingStrategyStage([]), time_slices())[0] for _ in range(3))
    figure("no trading strategy, time slice of 500 symbols", f"p50 {best_us:.1f} µs")
    assert best_us < 100 * decimal_us()
