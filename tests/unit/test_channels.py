"""Channels and trailing stops follow the rules of every indicator. References: slow definitions, TA-Lib and `ta`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ta
import talib

from tests.unit.indicator_checks import RULES, Case, Columns
from tests.unit.test_moving_averages import Numbers, ema


def average_true_range(f: pd.DataFrame, period: int) -> Numbers:
    """Wilder's average true range: the mean of the first `period` ranges from bar 2 on, then a weight of 1/period."""
    before = f.close.shift(1)
    true_range = pd.concat([f.high, before], axis=1).max(axis=1) - pd.concat([f.low, before], axis=1).min(axis=1)
    result = np.full(len(f), math.nan)
    value = result[period] = true_range[1 : period + 1].mean()
    for index in range(period + 1, len(f)):
        value += (true_range[index] - value) / period
        result[index] = value
    return result


def middle(f: pd.DataFrame, period: float) -> Any:
    return (f.high.rolling(int(period)).max() + f.low.rolling(int(period)).min()) / 2


def donchian(f: pd.DataFrame, p: list[float]) -> Columns:
    upper, lower = f.high.rolling(int(p[0])).max(), f.low.rolling(int(p[0])).min()
    return {"_upper": upper, "_middle": (upper + lower) / 2, "_lower": lower}


def ta_donchian(f: pd.DataFrame, p: list[float]) -> Columns:
    channel = ta.volatility.DonchianChannel(f.high, f.low, f.close, window=int(p[0]))
    return {
        "_upper": channel.donchian_channel_hband(),
        "_middle": channel.donchian_channel_mband(),
        "_lower": channel.donchian_channel_lband(),
    }


def keltner(f: pd.DataFrame, p: list[float]) -> Columns:
    average, true_range = ema(f.close, p[0]), average_true_range(f, int(p[1]))
    average = np.where(np.isnan(true_range), math.nan, average)
    return {
        "_upper": average + p[2] * true_range,
        "_middle": average + 0 * true_range,
        "_lower": average - p[2] * true_range,
    }


def ta_keltner(f: pd.DataFrame, p: list[float]) -> Columns:
    channel = ta.volatility.KeltnerChannel(
        f.high, f.low, f.close, int(p[0]), int(p[1]), original_version=False, multiplier=p[2]
    )
    return {
        "_upper": channel.keltner_channel_hband(),
        "_middle": channel.keltner_channel_mband(),
        "_lower": channel.keltner_channel_lband(),
    }


def supertrend(f: pd.DataFrame, p: list[float]) -> Columns:
    """As `ta.supertrend` of TradingView: a list of bands, then the direction."""
    true_range, centre = average_true_range(f, int(p[0])), ((f.high + f.low) / 2).to_numpy()
    upper, lower = centre + p[1] * true_range, centre - p[1] * true_range
    close, line, direction = f.close.to_numpy(), np.full(len(f), math.nan), np.full(len(f), math.nan)
    for index in range(int(p[0]), len(f)):
        if index > int(p[0]):
            if not (lower[index] > lower[index - 1] or close[index - 1] < lower[index - 1]):
                lower[index] = lower[index - 1]
            if not (upper[index] < upper[index - 1] or close[index - 1] > upper[index - 1]):
                upper[index] = upper[index - 1]
        if math.isnan(line[index - 1]):
            direction[index] = -1
        elif line[index - 1] == upper[index - 1]:
            direction[index] = 1 if close[index] > upper[index] else -1
        else:
            direction[index] = -1 if close[index] < lower[index] else 1
        line[index] = lower[index] if direction[index] > 0 else upper[index]
    return {"": line, "_direction": direction}


def psar(f: pd.DataFrame, p: list[float]) -> Columns:
    """Wilder's rules, with the list of all bars at hand."""
    highs, lows = list(f.high), list(f.low)
    stops, directions = [math.nan], [math.nan]
    fall, rise = lows[0] - lows[1], highs[1] - highs[0]
    up = not (fall > 0 and fall > rise)
    stop, extreme, fraction = (lows[0], highs[1], p[0]) if up else (highs[0], lows[1], p[0])
    for index in range(1, len(f)):
        last_two = slice(max(index - 1, 1), index + 1)
        if up and lows[index] <= stop:
            up, stop, fraction, extreme = False, max(extreme, *highs[last_two], highs[index]), p[0], lows[index]
        elif not up and highs[index] >= stop:
            up, stop, fraction, extreme = True, min(extreme, *lows[last_two], lows[index]), p[0], highs[index]
        elif up and highs[index] > extreme:
            extreme, fraction = highs[index], min(fraction + p[0], p[1])
        elif not up and lows[index] < extreme:
            extreme, fraction = lows[index], min(fraction + p[0], p[1])
        stops.append(stop)
        directions.append(1.0 if up else -1.0)
        stop += fraction * (extreme - stop)
        stop = min(stop, *lows[last_two], lows[index]) if up else max(stop, *highs[last_two], highs[index])
    return {"": stops, "_direction": directions}


def ichimoku(f: pd.DataFrame, p: list[float]) -> Columns:
    conversion, base, leading_b = (middle(f, period) for period in p)
    leading_a = (conversion + base) / 2
    return {
        "_conversion": conversion,
        "_base": base,
        "_leading_a": leading_a,
        "_leading_b": leading_b,
        "_cloud_a": leading_a.shift(int(p[1])),
        "_cloud_b": leading_b.shift(int(p[1])),
    }


def ta_ichimoku(f: pd.DataFrame, p: list[float]) -> Columns:
    lines = ta.trend.IchimokuIndicator(f.high, f.low, *map(int, p))
    cloud = ta.trend.IchimokuIndicator(f.high, f.low, *map(int, p), visual=True)
    return {
        "_conversion": lines.ichimoku_conversion_line(),
        "_base": lines.ichimoku_base_line(),
        "_leading_a": lines.ichimoku_a(),
        "_leading_b": lines.ichimoku_b(),
        "_cloud_a": cloud.ichimoku_a(),
        "_cloud_b": cloud.ichimoku_b(),
    }


BANDS = {"_upper": 10.0, "_middle": 10.0, "_lower": 10.0}
CASES = {
    "donchian": Case(("donchian_20", "donchian_1"), donchian, ta_donchian, library_start=0, constant=BANDS),
    "ichimoku": Case(
        ("ichimoku_9_26_52", "ichimoku_2_5_8"),
        ichimoku,
        ta_ichimoku,
        library_start=100,
        constant=dict.fromkeys(("_conversion", "_base", "_leading_a", "_leading_b", "_cloud_a", "_cloud_b"), 10.0),
    ),
    "keltner": Case(("keltner_20_10_2", "keltner_3_7_1.5"), keltner, ta_keltner, constant=BANDS),
    "psar": Case(
        ("psar_0.02_0.2", "psar_0.1_0.15"),
        psar,
        lambda f, p: {"": talib.SAR(f.high.to_numpy(), f.low.to_numpy(), *p)},
        library_start=0,
        # Each bar of one price reaches the stop, so the direction changes at each bar from bar 2 (down) on.
        constant={"": 10.0, "_direction": -1.0},
    ),
    "supertrend": Case(("supertrend_10_3", "supertrend_3_1"), supertrend, constant={"": 10.0, "_direction": -1.0}),
}

ROWS = [(kind, spec) for kind, case in CASES.items() for spec in case.specs]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(("kind", "spec"), ROWS, ids=[spec for _, spec in ROWS])
def test_an_indicator_follows_the_rule(kind: str, spec: str, rule: Callable[[str, str, Case], None]) -> None:
    rule(kind, spec, CASES[kind])
