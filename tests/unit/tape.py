"""A short market for tests of the whole pipeline: seeded walks with one time slice per minute, and its output."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from configs.settings import Settings, load_settings
from dataflows.replay.comparison import Pipeline
from dataflows.replay.differences import derived_records
from dataflows.replay.recording import Recording
from operators.stage import TimeSlice
from schemas.records import Command, Record
from tests.builders import bar

MINUTE_NS = 60_000_000_000
START_NS = 1_704_205_800_000_000_000  # 2024-01-02T14:30Z
SYMBOLS = ("AAPL", "IBM", "SPY")

FAST_STRATEGY = {"name": "ema_cross", "parameters": {"fast": 2, "slow": 4, "rsi_period": 3, "rsi_max": 100.0}}


def settings(**sections: Any) -> Settings:
    """Return the shipped settings with a strategy that trades within a few bars. `sections` replace whole sections."""
    base = load_settings(environment={}).model_dump()
    base["signals"] = {"strategies": [FAST_STRATEGY]}
    return Settings.model_validate(base | sections)


def market(slice_count: int, seed: int = 5, symbols: Sequence[str] = SYMBOLS) -> list[TimeSlice]:
    """Build one bar per symbol and minute, as a random walk of about 0.3 % per bar."""
    rng = random.Random(seed)
    last_prices = dict.fromkeys(symbols, 100.0)
    time_slices = []
    for number in range(1, slice_count + 1):
        ts_ns = START_NS + number * MINUTE_NS
        bars: list[Record] = []
        for symbol in symbols:
            open_price = last_prices[symbol]
            close = round(open_price * (1 + rng.gauss(0, 0.003)), 2)
            last_prices[symbol] = close
            bars.append(bar(symbol, number, ts_ns, close, open=open_price, volume=500.0))
        time_slices.append(TimeSlice(ts_ns, bars))
    return time_slices


def with_command(time_slices: list[TimeSlice], index: int, command: Command) -> list[TimeSlice]:
    """Return the same market with a command in the time slice at `index`."""
    return [
        TimeSlice(ts, [command, *records]) if n == index else TimeSlice(ts, records)
        for n, (ts, records) in enumerate(time_slices)
    ]


def platform_output(time_slices: Sequence[TimeSlice], platform_settings: Settings) -> list[TimeSlice]:
    """Return the records that the platform derives from a market. Each time slice is in topic order."""
    pipeline = Pipeline(platform_settings)
    return [TimeSlice(ts_ns, derived_records(pipeline.on_slice(ts_ns, records))) for ts_ns, records in time_slices]


def recording(inputs: Sequence[TimeSlice], outputs: Sequence[TimeSlice]) -> Recording:
    return Recording(iter(inputs), iter(outputs))
