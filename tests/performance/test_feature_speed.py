"""The cost of a time slice of 500 symbols with forty indicators, and of fields and intervals that are declared."""

from __future__ import annotations

import random
import time

from operators.features import FeatureStage
from schemas.records import Record
from tests.builders import bar
from tests.performance.conftest import RecordFigure
from tests.performance.reference_speed import decimal_us

SYMBOLS = tuple(f"S{number:03}" for number in range(500))
SLICES, WARM_UP = 90, 60
MINUTE_NS = 60 * 10**9
INDICATORS = (
    *("sma_5", "sma_20", "sma_50", "ema_5", "ema_12", "ema_26", "ema_50", "wma_10", "dema_12", "tema_12", "hma_16"),
    *("rsi_2", "rsi_14", "macd_12_26_9", "ppo_12_26_9", "bollinger_20_2", "donchian_20", "keltner_20_10_2", "atr_14"),
    *("adx_14", "aroon_25", "stochastic_14_3", "williams_r_14", "obv", "ad", "cmf_20", "mfi_14", "vwap", "cci_20"),
    *("roc_1", "roc_10", "momentum_10", "trix_15", "std_20", "variance_20", "zscore_20", "max_20", "min_20"),
    *("realized_volatility_20", "vwma_20"),
)
FIELDS = ("open", "high", "low", "volume", "minutes_since_open", "minutes_to_close", "early_close")
INTERVALS = ("ema_20@15m", "close@15m")
SLICE_COST_MAX = 2_600_000
"""In multiples of `decimal_us`: 150 ms where a Decimal multiplication takes 57 ns. The target is 50 ms."""


def time_slices() -> list[list[Record]]:
    rng, prices, slices = random.Random(1), [100.0] * len(SYMBOLS), list[list[Record]]()
    for number in range(1, SLICES + 1):
        prices = [price * (1 + rng.gauss(0, 0.001)) for price in prices]
        bars = [bar(one, number, number * MINUTE_NS, price) for one, price in zip(SYMBOLS, prices, strict=True)]
        slices.append(list(bars))
    return slices


def slice_us(specs: tuple[str, ...], slices: list[list[Record]]) -> float:
    """Return the median processor time of a time slice after the warm-up in microseconds."""
    stage, durations = FeatureStage(specs), list[float]()
    for number, records in enumerate(slices, start=1):
        started = time.process_time_ns()
        stage.on_slice(number * MINUTE_NS, records)
        if number > WARM_UP:
            durations.append((time.process_time_ns() - started) / 1000)
    return sorted(durations)[len(durations) // 2]


def test_forty_indicators_of_500_symbols(figure: RecordFigure) -> None:
    slices = time_slices()
    assert len(set(INDICATORS)) == 40
    best_us = min(slice_us(INDICATORS, slices) for _ in range(3))
    figure("40 indicators, time slice of 500 symbols", f"p50 {best_us / 1000:.1f} ms")
    assert best_us < SLICE_COST_MAX * decimal_us()


def test_fields_and_intervals_cost_only_where_they_are_declared(figure: RecordFigure) -> None:
    slices = time_slices()
    plain, fields, intervals = ("ema_12", "rsi_14"), ("ema_12", "rsi_14", *FIELDS), ("ema_12", "rsi_14", *INTERVALS)
    rounds = [[slice_us(specs, slices) for specs in (plain, fields, intervals)] for _ in range(3)]
    plain_us, fields_us, intervals_us = (min(column) / 1000 for column in zip(*rounds, strict=True))
    figure("2 indicators, time slice of 500 symbols", f"p50 {plain_us:.1f} ms")
    figure("… and 7 fields of the bar and its session", f"p50 {fields_us:.1f} ms")
    figure("… and 2 values of 15 minutes", f"p50 {intervals_us:.1f} ms")
