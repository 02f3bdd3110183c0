"""A short market for the tests that run the whole pipeline: seeded walks, one tick a minute, and what it decides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from configs.settings import Settings, load_settings
from dataflows.replay.comparison import Pipeline
from dataflows.replay.differences import derived
from dataflows.replay.recording import Recording
from operators.stage import Tick
from schemas.records import REGULAR, Bar, Command, Record

MINUTE_NS = 60_000_000_000
START_NS = 1_704_205_800_000_000_000  # 2024-01-02T14:30Z
SYMBOLS = ("AAPL", "IBM", "SPY")

QUICK = {"name": "ema_cross", "parameters": {"fast": 2, "slow": 4, "rsi_period": 3, "rsi_max": 100.0}}


def settings(**sections: Any) -> Settings:
    """The settings as shipped, with a strategy that trades within a few bars; `sections` replace whole sections."""
    base = load_settings(environment={}).model_dump()
    base["signals"] = {"strategies": [QUICK]}
    return Settings.model_validate(base | sections)


def market(ticks: int, seed: int = 5, symbols: Sequence[str] = SYMBOLS) -> list[Tick]:
    """One bar a symbol and minute, walking by about 0.3 % a bar."""
    rng = random.Random(seed)
    last = dict.fromkeys(symbols, 100.0)
    out = []
    for number in range(1, ticks + 1):
        ts_ns = START_NS + number * MINUTE_NS
        bars: list[Record] = []
        for symbol in symbols:
            opened = last[symbol]
            close = round(opened * (1 + rng.gauss(0, 0.003)), 2)
            last[symbol] = close
            high, low = max(opened, close), min(opened, close)
            bars.append(
                Bar(symbol, number, ts_ns, ts_ns - MINUTE_NS, opened, high, low, close, 500.0, REGULAR, 20240102, True)
            )
        out.append(Tick(ts_ns, bars))
    return out


def with_command(ticks: list[Tick], at: int, command: Command) -> list[Tick]:
    """The same market with a command taken at tick number `at`."""
    return [Tick(ts, [command, *records]) if n == at else Tick(ts, records) for n, (ts, records) in enumerate(ticks)]


def decided(given: Sequence[Tick], chosen: Settings) -> list[Tick]:
    """What the platform records of a market, each tick in the order of the topics."""
    pipeline = Pipeline(chosen)
    return [Tick(ts_ns, derived(pipeline.on_tick(ts_ns, records))) for ts_ns, records in given]


def recorded(given: Sequence[Tick], made: Sequence[Tick]) -> Recording:
    return Recording(iter(given), iter(made))
