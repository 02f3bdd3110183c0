"""The oscillators follow the rules of every indicator. References: slow definitions, TA-Lib and `ta`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import ta
import talib

from tests.unit.indicator_checks import RULES, Case, Columns
from tests.unit.test_moving_averages import Numbers, chain, ema


def hlc(f: pd.DataFrame) -> tuple[Numbers, Numbers, Numbers]:
    return f.high.to_numpy(), f.low.to_numpy(), f.close.to_numpy()


def windows(values: Numbers, period: float) -> Numbers:
    """The last `period` numbers at each bar, oldest first; NaN before the first number."""
    padded: Numbers = np.concatenate([np.full(int(period) - 1, math.nan), values])
    return np.lib.stride_tricks.sliding_window_view(padded, int(period))


def mean(values: Numbers, period: float) -> Numbers:
    """The mean of each window; NaN where one of its numbers is NaN."""
    result: Numbers = windows(values, period).mean(axis=1)
    return result


def delayed(values: Numbers, bars: float) -> Numbers:
    return np.concatenate([np.full(int(bars), math.nan), values])[: len(values)]


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """The ratio; NaN for 0/0."""
    result: Numbers = np.divide(numerator, denominator, out=np.full(len(numerator), math.nan), where=denominator > 0)
    return result


def true_range(f: pd.DataFrame) -> Numbers:
    high, low, close = hlc(f)
    before = delayed(close, 1)
    result: Numbers = np.where(np.isnan(before), math.nan, np.maximum(high, before) - np.minimum(low, before))
    return result


def position_in_range(f: pd.DataFrame, period: float) -> Numbers:
    """0 at the lowest low of the window, 1 at its highest high."""
    high, low, close = hlc(f)
    highest, lowest = windows(high, period).max(axis=1), windows(low, period).min(axis=1)
    return ratio(close - lowest, highest - lowest)


def slow_stochastic(f: pd.DataFrame, p: list[float]) -> Columns:
    k = mean(100.0 * position_in_range(f, p[0]), p[1])
    return {"_k": k, "_d": mean(k, p[2])}


def talib_slow_stochastic(f: pd.DataFrame, p: list[float]) -> Columns:
    k, d = talib.STOCH(*hlc(f), fastk_period=int(p[0]), slowk_period=int(p[1]), slowd_period=int(p[2]))
    return {"_k": k, "_d": d}


def wilder_rsi(f: pd.DataFrame, period: int) -> Numbers:
    """Wilder's index with explicit averages of rises and falls."""
    change = np.diff(f.close.to_numpy())
    rise, fall = change[:period].clip(0).mean(), -change[:period].clip(None, 0).mean()
    result = np.full(len(f), math.nan)
    for index in range(period, len(f)):
        if index > period:
            rise = (rise * (period - 1) + max(change[index - 1], 0.0)) / period
            fall = (fall * (period - 1) + max(-change[index - 1], 0.0)) / period
        result[index] = 100.0 - 100.0 / (1.0 + rise / fall) if fall else 100.0
    return result


def stochastic_rsi(f: pd.DataFrame, p: list[float]) -> Columns:
    rsi = wilder_rsi(f, int(p[0]))
    window = windows(rsi, p[1])
    highest, lowest = window.max(axis=1), window.min(axis=1)
    # A range below 1e-9 is the rounding error of an unchanged price.
    position = np.where(highest - lowest > 1e-9, ratio(rsi - lowest, highest - lowest), math.nan)
    k = mean(100.0 * position, p[2])
    return {"_k": k, "_d": mean(k, p[3])}


def talib_stochastic_rsi(f: pd.DataFrame, p: list[float]) -> Columns:
    fast_k, fast_d = talib.STOCHRSI(f.close.to_numpy(), int(p[0]), int(p[1]), int(p[3]))
    return {"_k": fast_k, "_d": fast_d} if p[2] == 1 else {}


def aroon(f: pd.DataFrame, p: list[float]) -> Columns:
    """Search each window from the newest bar, so that the latest of equal extremes counts."""
    high, low, _ = hlc(f)
    ages_high = windows(high, p[0] + 1)[:, ::-1].argmax(axis=1)
    ages_low = windows(low, p[0] + 1)[:, ::-1].argmin(axis=1)
    warm_up = np.where(np.arange(len(f)) < p[0], math.nan, 0.0)
    up, down = 100.0 * (1.0 - ages_high / p[0]) + warm_up, 100.0 * (1.0 - ages_low / p[0]) + warm_up
    return {"_up": up, "_down": down, "_oscillator": up - down}


def talib_aroon(f: pd.DataFrame, p: list[float]) -> Columns:
    high, low, _ = hlc(f)
    down, up = talib.AROON(high, low, int(p[0]))
    return {"_up": up, "_down": down, "_oscillator": talib.AROONOSC(high, low, int(p[0]))}


def trix(f: pd.DataFrame, p: list[float]) -> Columns:
    third = chain(f.close, p[0], 3)[2]
    return {"": 100.0 * (third / delayed(third, 1) - 1.0)}


def tsi(f: pd.DataFrame, p: list[float]) -> Columns:
    change = np.diff(f.close.to_numpy())
    smoothed, distance = (ema(ema(values, p[0]), p[1]) for values in (change, np.abs(change)))
    return {"": np.concatenate([[math.nan], 100.0 * smoothed / distance])}


def ultimate_oscillator(f: pd.DataFrame, p: list[float]) -> Columns:
    _, low, close = hlc(f)
    pressure = close - np.minimum(low, delayed(close, 1))
    averages = [ratio(windows(pressure, n).sum(axis=1), windows(true_range(f), n).sum(axis=1)) for n in p]
    return {"": 100.0 * (4.0 * averages[0] + 2.0 * averages[1] + averages[2]) / 7.0}


def vortex(f: pd.DataFrame, p: list[float]) -> Columns:
    high, low, _ = hlc(f)
    plus, minus = np.abs(high - delayed(low, 1)), np.abs(low - delayed(high, 1))
    ranges = windows(true_range(f), p[0]).sum(axis=1)
    return {
        "_plus": ratio(windows(plus, p[0]).sum(axis=1), ranges),
        "_minus": ratio(windows(minus, p[0]).sum(axis=1), ranges),
    }


def ta_vortex(f: pd.DataFrame, p: list[float]) -> Columns:
    indicator = ta.trend.VortexIndicator(f.high, f.low, f.close, window=int(p[0]))
    return {"_plus": indicator.vortex_indicator_pos(), "_minus": indicator.vortex_indicator_neg()}


def dpo(f: pd.DataFrame, p: list[float]) -> Columns:
    close = f.close.to_numpy()
    return {"": delayed(close, p[0] // 2 + 1) - mean(close, p[0])}


def kst(f: pd.DataFrame, p: list[float]) -> Columns:
    close, total = f.close.to_numpy(), np.zeros(len(f))
    for weight, (rate, smooth) in enumerate(zip(p[:4], p[4:8], strict=True), start=1):
        total = total + weight * mean(100.0 * (close / delayed(close, rate) - 1.0), smooth)
    return {"": total, "_signal": mean(total, p[8])}


def ta_kst(f: pd.DataFrame, p: list[float]) -> Columns:
    indicator = ta.trend.KSTIndicator(f.close, *map(int, p))
    return {"": indicator.kst(), "_signal": indicator.kst_sig()}


def mass_index(f: pd.DataFrame, p: list[float]) -> Columns:
    single, double = chain(f.high - f.low, p[0], 2)
    return {"": windows(single / double, p[1]).sum(axis=1)}


def ulcer_index(f: pd.DataFrame, p: list[float]) -> Columns:
    close = f.close.to_numpy()
    # In the first windows, the highest close so far counts.
    highest = np.nanmax(windows(close, p[0]), axis=1)
    return {"": np.sqrt(mean((100.0 * (close / highest - 1.0)) ** 2, p[0]))}


def fisher(f: pd.DataFrame, p: list[float]) -> Columns:
    """Ehlers' program, line by line, with his names."""
    price = ((f.high + f.low) / 2).to_numpy()
    value, fish = 0.0, 0.0
    values, signals = np.full(len(f), math.nan), np.full(len(f), math.nan)
    seen = False
    for index in range(int(p[0]) - 1, len(f)):
        window = price[index - int(p[0]) + 1 : index + 1]
        high, low = window.max(), window.min()
        if high == low:
            continue
        value = 0.33 * 2 * ((price[index] - low) / (high - low) - 0.5) + 0.67 * value
        value = 0.999 if value > 0.99 else -0.999 if value < -0.99 else value
        signals[index] = fish if seen else math.nan
        fish = 0.5 * math.log((1 + value) / (1 - value)) + 0.5 * fish
        values[index], seen = fish, True
    return {"": values, "_signal": signals}


def choppiness(f: pd.DataFrame, p: list[float]) -> Columns:
    high, low, _ = hlc(f)
    span = windows(high, p[0]).max(axis=1) - windows(low, p[0]).min(axis=1)
    return {"": 100.0 * np.log10(ratio(windows(true_range(f), p[0]).sum(axis=1), span)) / math.log10(p[0])}


def talib_choppiness(f: pd.DataFrame, p: list[float]) -> Columns:
    high, low, close = hlc(f)
    span = talib.MAX(high, int(p[0])) - talib.MIN(low, int(p[0]))
    total = talib.SUM(talib.TRANGE(high, low, close), int(p[0]))
    return {"": 100.0 * np.log10(ratio(total, np.where(span > 0.0, span, math.nan))) / math.log10(p[0])}


CASES = {
    "aroon": Case(
        ("aroon_25", "aroon_3"),
        aroon,
        talib_aroon,
        library_start=0,
        # Of equal extremes the latest counts, so both are new at each bar.
        constant={"_up": 100.0, "_down": 100.0, "_oscillator": 0.0},
        bounds=(-100.0, 100.0),
    ),
    "choppiness": Case(("choppiness_14", "choppiness_3"), choppiness, talib_choppiness, library_start=0),
    "dpo": Case(
        ("dpo_20", "dpo_3"),
        dpo,
        lambda f, p: {"": ta.trend.DPOIndicator(f.close, window=int(p[0])).dpo()},
        library_start=30,
        constant={"": 0.0},
    ),
    "fisher": Case(("fisher_9", "fisher_3"), fisher),
    "kst": Case(
        ("kst_10_15_20_30_10_10_10_15_9", "kst_1_2_3_4_2_3_4_5_3"),
        kst,
        ta_kst,
        library_start=60,
        constant={"": 0.0, "_signal": 0.0},
    ),
    "mass_index": Case(
        ("mass_index_9_25", "mass_index_3_4"),
        mass_index,
        lambda f, p: {"": ta.trend.MassIndex(f.high, f.low, int(p[0]), int(p[1])).mass_index()},
        library_start=0,
    ),
    "momentum": Case(
        ("momentum_10", "momentum_1"),
        lambda f, p: {"": f.close - f.close.shift(int(p[0]))},
        lambda f, p: {"": talib.MOM(f.close.to_numpy(), int(p[0]))},
        library_start=0,
        constant={"": 0.0},
    ),
    "slow_stochastic": Case(
        ("slow_stochastic_14_3_3", "slow_stochastic_5_2_1"),
        slow_stochastic,
        talib_slow_stochastic,
        library_start=20,
        bounds=(0.0, 100.0),
    ),
    "stochastic_rsi": Case(
        ("stochastic_rsi_14_14_3_3", "stochastic_rsi_14_14_1_3", "stochastic_rsi_3_4_2_2"),
        stochastic_rsi,
        talib_stochastic_rsi,
        library_start=0,
        bounds=(0.0, 100.0),
    ),
    "trix": Case(
        ("trix_15", "trix_2"),
        trix,
        lambda f, p: {"": talib.TRIX(f.close.to_numpy(), int(p[0]))},
        constant={"": 0.0},
    ),
    "tsi": Case(
        ("tsi_25_13", "tsi_3_2"),
        tsi,
        lambda f, p: {"": ta.momentum.TSIIndicator(f.close, window_slow=int(p[0]), window_fast=int(p[1])).tsi()},
        library_start=0,
        bounds=(-100.0, 100.0),
    ),
    "ulcer_index": Case(
        ("ulcer_index_14", "ulcer_index_2"),
        ulcer_index,
        lambda f, p: {"": ta.volatility.UlcerIndex(f.close, window=int(p[0])).ulcer_index()},
        library_start=0,
        constant={"": 0.0},
        bounds=(0.0, 100.0),
    ),
    "ultimate_oscillator": Case(
        ("ultimate_oscillator_7_14_28", "ultimate_oscillator_2_3_5"),
        ultimate_oscillator,
        # TA-Lib omits a period without a range; such a period is too rare in 7 bars to occur here.
        lambda f, p: {"": talib.ULTOSC(*hlc(f), *map(int, p))} if p[0] == 7 else {},
        library_start=0,
        bounds=(0.0, 100.0),
    ),
    "vortex": Case(("vortex_14", "vortex_2"), vortex, ta_vortex, library_start=20),
    "williams_r": Case(
        ("williams_r_14", "williams_r_3"),
        lambda f, p: {"": 100.0 * position_in_range(f, p[0]) - 100.0},
        lambda f, p: {"": talib.WILLR(*hlc(f), int(p[0]))},
        library_start=0,
        bounds=(-100.0, 0.0),
    ),
}
ROWS = [(kind, spec) for kind, case in CASES.items() for spec in case.specs]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(("kind", "spec"), ROWS, ids=[spec for _, spec in ROWS])
def test_an_indicator_follows_the_rule(kind: str, spec: str, rule: Callable[[str, str, Case], None]) -> None:
    rule(kind, spec, CASES[kind])
