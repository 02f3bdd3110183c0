"""Candle patterns against TA-Lib."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
import talib.abstract

from operators.indicators import build
from operators.indicators.candles import PATTERNS
from tests.unit.indicator_checks import (
    RULES,
    Case,
    Columns,
    Computation,
    bars_of,
    constant_bars,
    the_state_does_not_grow_with_the_history,
    values_of,
)

Numbers = np.ndarray[Any, np.dtype[np.float64]]
CANDLE_COUNT = 150_000
TICK = 0.25  # sums of multiples of it are exact, so that the running sums of TA-Lib are, too


@cache
def candles() -> tuple[Any, ...]:
    """Open, high, low and close of random candles, with gaps, equal prices, and short and long bodies and shadows."""
    rng = np.random.default_rng(31)
    size = CANDLE_COUNT
    bodies = rng.choice([0, 0, 1, 1, 2, 4, 8, 16, 20], size) * rng.choice([-1, 1], size)
    # Runs of one color, and opens within the body before, at its ends or beyond them.
    bodies = np.where(rng.random(size) < 0.5, np.abs(bodies) * np.sign(np.sin(np.arange(size) / 5) + 1e-9), bodies)
    starts = np.where(rng.random(size) < 0.3, 0, np.round(rng.normal(0.0, 6.0, size)))
    # The open is a distance from the close before. Prices return to a middle level, so they stay positive.
    opens, closes, price = np.empty(size), np.empty(size), 0.0
    for index in range(size):
        opens[index] = price + starts[index] - round(price / 50)
        price = closes[index] = opens[index] + bodies[index]
    shadows = rng.choice([0, 0, 0, 1, 2, 6, 12], (2, size))
    highs, lows = np.maximum(opens, closes) + shadows[0], np.minimum(opens, closes) - shadows[1]
    return tuple(1_000.0 + TICK * column for column in (opens, highs, lows, closes))


def of_talib(name: str) -> Computation:
    def compute(f: pd.DataFrame, p: list[float]) -> Columns:
        prices = [f[column].to_numpy() for column in ("open", "high", "low", "close")]
        values = getattr(talib, PATTERNS[name].talib_name)(*prices).astype(float)
        values[: PATTERNS[name].warm_up_bars] = math.nan
        return {"": values}

    return compute


CASES = {f"candle_{name}": Case((f"candle_{name}",), of_talib(name)) for name in PATTERNS}
SHARED_RULES = [rule for rule in RULES if rule is not the_state_does_not_grow_with_the_history]


@pytest.mark.parametrize("rule", SHARED_RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", ["engulfing", "hammer", "doji"])
def test_a_pattern_follows_the_rule(name: str, rule: Callable[[str, str, Case], None]) -> None:
    kind = f"candle_{name}"
    constant = values_of(kind, constant_bars(250))[-1]
    rule(kind, kind, CASES[kind]._replace(constant={"": constant[kind]}))


@pytest.mark.parametrize("name", PATTERNS)
def test_the_state_is_the_candles_of_the_warm_up(name: str) -> None:
    indicator = build(f"candle_{name}")
    for one in bars_of(50, seed=9):
        indicator.update(one, {})
        assert len(indicator.snapshot()) <= PATTERNS[name].warm_up_bars


def value_of(name: str, window: Numbers) -> float:
    """The value at the last candle of a window with the columns open, high, low and close."""
    indicator = build(f"candle_{name}")
    template = bars_of(1, seed=1)[0]
    values: dict[str, float] = {}
    for open_, high, low, close in window:
        assert values == {}
        bar = template._replace(open=float(open_), high=float(high), low=float(low), close=float(close))
        indicator.update(bar, values)
    [value] = values.values()
    return value


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_equals_that_of_talib(name: str) -> None:
    """On random candles, on up to 25 of each result, and on those with one price of the last five changed a little."""
    function, size = getattr(talib, PATTERNS[name].talib_name), PATTERNS[name].warm_up_bars + 1
    abstract: Any = talib.abstract
    assert abstract.Function(PATTERNS[name].talib_name).lookback == size - 1
    columns = candles()
    expected, table = function(*columns), np.stack(columns, axis=1)
    rng = np.random.default_rng(7)
    ends = [int(end) for end in rng.integers(size, CANDLE_COUNT, 20)]
    found = [np.flatnonzero(expected == result)[:25] for result in set(expected) - {0}]
    assert found, "no candle has the pattern"
    ends += [int(end) for end in np.concatenate(found)]
    for end in ends:
        assert value_of(name, table[end - size + 1 : end + 1]) == expected[end], f"candle {end}"
    for end in rng.choice(np.concatenate(found), 60):
        window = table[end - size + 1 : end + 1].copy()
        window[-1 - rng.integers(min(5, size)), rng.integers(4)] += TICK * rng.choice([-3, -2, -1, 1, 2, 3])
        window[:, 1], window[:, 2] = window.max(axis=1), window.min(axis=1)
        assert value_of(name, window) == function(*np.ascontiguousarray(window.T))[-1], f"changed candle {end}"


@pytest.mark.parametrize("name", PATTERNS)
def test_a_split_in_a_pause_of_trading_makes_no_pattern(name: str) -> None:
    """Bars without a trade repeat the last close, which the platform rounds to nine decimals after a split."""
    indicator = build(f"candle_{name}")
    expected: dict[str, float] = {}
    values: dict[str, float] = {}
    for one in constant_bars(30, 100.01):
        indicator.update(one, expected)
    indicator.rescale(1 / 3)
    for one in constant_bars(30, 33.336666667):
        indicator.update(one, values)
        assert values == expected
