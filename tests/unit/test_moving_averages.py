"""The moving averages follow the rules of every indicator. References: slow definitions, TA-Lib and `ta`."""

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

Numbers = np.ndarray[Any, np.dtype[np.float64]]


def ema(values: Any, period: float) -> Numbers:
    """The exponential average, with the first number as the seed; NaN before `period` numbers."""
    series = pd.Series(np.asarray(values, dtype=float))
    average = series.ewm(span=period, adjust=False, min_periods=int(period)).mean()
    return average.to_numpy()


def weighted(values: Any, weights: Any) -> Numbers:
    """The weighted mean of each window; the first weight is that of the oldest number."""
    numbers, weights = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    result = np.full(len(numbers), math.nan)
    for end in range(len(weights), len(numbers) + 1):
        result[end - 1] = math.fsum(weights * numbers[end - len(weights) : end]) / math.fsum(weights)
    return result


def wma(values: Any, period: int) -> Numbers:
    return weighted(values, range(1, period + 1))


def chain(values: Any, period: float, length: int) -> list[Numbers]:
    """The averages of the averages."""
    averages = [ema(values, period)]
    for _ in range(length - 1):
        averages.append(ema(averages[-1], period))
    return averages


def dema(f: pd.DataFrame, p: list[float]) -> Columns:
    first, second = chain(f.close, p[0], 2)
    return {"": 2 * first - second}


def tema(f: pd.DataFrame, p: list[float]) -> Columns:
    first, second, third = chain(f.close, p[0], 3)
    return {"": 3 * first - 3 * second + third}


def hma(f: pd.DataFrame, p: list[float]) -> Columns:
    period = int(p[0])
    return {"": wma(2 * wma(f.close, period // 2) - wma(f.close, period), math.floor(math.sqrt(period)))}


def kama(f: pd.DataFrame, p: list[float]) -> Columns:
    period, (close, result) = int(p[0]), (f.close.to_numpy(), np.full(len(f), math.nan))
    value = close[period - 1]
    for index in range(period, len(close)):
        path = np.abs(np.diff(close[index - period : index + 1])).sum()
        efficiency = abs(close[index] - close[index - period]) / path if path else 1.0
        value += (close[index] - value) * (efficiency * (2 / (p[1] + 1) - 2 / (p[2] + 1)) + 2 / (p[2] + 1)) ** 2
        result[index] = value
    return {"": result}


def vwma(f: pd.DataFrame, p: list[float]) -> Columns:
    result = np.full(len(f), math.nan)
    close, volume = f.close.to_numpy(), f.volume.to_numpy()
    for end in range(int(p[0]), len(f) + 1):
        window = slice(end - int(p[0]), end)
        if volume[window].any():
            result[end - 1] = np.average(close[window], weights=volume[window])
    return {"": result}


def alma(f: pd.DataFrame, p: list[float]) -> Columns:
    period = int(p[0])
    distance = np.arange(period) - p[1] * (period - 1)
    return {"": weighted(f.close, np.exp(-(distance**2) / (2 * (period / p[2]) ** 2)))}


def t3(f: pd.DataFrame, p: list[float]) -> Columns:
    """Expand ((1 + v) e - v e²)³, where e^n is the average applied n times."""
    averages, v = chain(f.close, p[0], 6), p[1]
    total: Numbers = np.zeros(len(f))
    for squares in range(4):
        # Choose the second term of the binomial in `squares` of three applications.
        total += math.comb(3, squares) * (1 + v) ** (3 - squares) * (-v) ** squares * averages[2 + squares]
    return {"": total}


def talib_hma(f: pd.DataFrame, p: list[float]) -> Columns:
    close, period = f.close.to_numpy(), int(p[0])
    distance = 2.0 * talib.WMA(close, period // 2) - talib.WMA(close, period)
    # The WMA of TA-Lib requires a period of at least 2.
    return {"": talib.WMA(distance, math.isqrt(period))}


def ta_vwma(f: pd.DataFrame, p: list[float]) -> Columns:
    """The moving average of `ta` weights the typical price (high + low + close) / 3, which is the close here."""
    average = ta.volume.VolumeWeightedAveragePrice(f.close, f.close, f.close, f.volume, window=int(p[0]))
    return {"": average.volume_weighted_average_price()}


CASES = {
    "alma": Case(("alma_9_0.85_6", "alma_10_0_3"), alma, constant={"": 10.0}),
    "dema": Case(
        ("dema_12", "dema_1"),
        dema,
        lambda f, p: {"": talib.DEMA(f.close.to_numpy(), int(p[0])) if p[0] > 1 else f.close},
        constant={"": 10.0},
    ),
    "hma": Case(("hma_16", "hma_9", "hma_4"), hma, talib_hma, library_start=0, constant={"": 10.0}),
    "kama": Case(
        ("kama_10_2_30", "kama_5_2_30"),
        kama,
        lambda f, p: {"": talib.KAMA(f.close.to_numpy(), int(p[0]))},
        library_start=0,
        constant={"": 10.0},
    ),
    "t3": Case(
        ("t3_5_0.7", "t3_3_1"),
        t3,
        lambda f, p: {"": talib.T3(f.close.to_numpy(), int(p[0]), p[1])},
        constant={"": 10.0},
    ),
    "tema": Case(
        ("tema_12", "tema_3"),
        tema,
        lambda f, p: {"": talib.TEMA(f.close.to_numpy(), int(p[0]))},
        constant={"": 10.0},
    ),
    "vwma": Case(("vwma_20", "vwma_3"), vwma, ta_vwma, library_start=0),
    "wma": Case(
        ("wma_10", "wma_2"),
        lambda f, p: {"": wma(f.close, int(p[0]))},
        lambda f, p: {"": talib.WMA(f.close.to_numpy(), int(p[0]))},
        library_start=0,
        constant={"": 10.0},
    ),
}

ROWS = [(kind, spec) for kind, case in CASES.items() for spec in case.specs]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(("kind", "spec"), ROWS, ids=[spec for _, spec in ROWS])
def test_an_indicator_follows_the_rule(kind: str, spec: str, rule: Callable[[str, str, Case], None]) -> None:
    rule(kind, spec, CASES[kind])
