"""Statistics of a window against slow definitions, pandas and TA-Lib."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib

from tests.unit.indicator_checks import RULES, Case, Columns

Numbers = np.ndarray[Any, np.dtype[np.float64]]


def of_windows(values: Any, period: float, statistic: Callable[[Numbers], float]) -> Numbers:
    """The statistic of each window of `period` numbers; NaN before `period` numbers."""
    numbers, size = np.asarray(values, dtype=float), int(period)
    result = np.full(len(numbers), math.nan)
    for end in range(size, len(numbers) + 1):
        window = numbers[end - size : end]
        if not np.isnan(window).any():
            result[end - 1] = statistic(window)
    return result


def of_closes(statistic: Callable[[Numbers], float]) -> Callable[[pd.DataFrame, list[float]], Columns]:
    return lambda f, p: {"": of_windows(f.close, p[0], statistic)}


def variance(window: Numbers) -> float:
    mean = math.fsum(window) / len(window)
    return math.fsum((window - mean) ** 2) / len(window)


def zscore(window: Numbers) -> float:
    mean, spread = math.fsum(window) / len(window), math.sqrt(variance(window))
    return math.nan if np.ptp(window) == 0.0 else (window[-1] - mean) / spread


def skewness(window: Numbers) -> float:
    if np.ptp(window) == 0.0:
        return math.nan
    n, deviations = len(window), window - math.fsum(window) / len(window)
    biased = math.fsum(deviations**3) / n / (math.fsum(deviations**2) / n) ** 1.5
    return float(math.sqrt(n * (n - 1)) / (n - 2) * biased)


def kurtosis(window: Numbers) -> float:
    if np.ptp(window) == 0.0:
        return math.nan
    n, deviations = len(window), window - math.fsum(window) / len(window)
    biased = math.fsum(deviations**4) / n / (math.fsum(deviations**2) / n) ** 2 - 3.0
    return float((n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * biased + 6.0))


def percentile_rank(window: Numbers) -> float:
    below, equal = (window < window[-1]).sum(), (window == window[-1]).sum()
    return float(100.0 * (below + (equal + 1) / 2) / len(window))


def line(window: Numbers) -> tuple[float, float, float]:
    """Slope, value at the end and R² of the least-squares line."""
    positions = np.arange(len(window)) - (len(window) - 1) / 2
    mean = math.fsum(window) / len(window)
    deviations = window - mean
    slope = math.fsum(positions * deviations) / math.fsum(positions**2)
    total = math.fsum(deviations**2)
    r_squared = math.nan if np.ptp(window) == 0.0 else 1.0 - math.fsum((deviations - slope * positions) ** 2) / total
    return slope, mean + slope * positions[-1], r_squared


def linear_regression(f: pd.DataFrame, p: list[float]) -> Columns:
    return {
        "": of_windows(f.close, p[0], lambda window: line(window)[1]),
        "_slope": of_windows(f.close, p[0], lambda window: line(window)[0]),
        "_r2": of_windows(f.close, p[0], lambda window: line(window)[2]),
    }


def log_returns(f: pd.DataFrame) -> Numbers:
    close = f.close.to_numpy()
    return np.concatenate([[math.nan], np.log(close[1:] / close[:-1])])


def sample_deviation(window: Numbers) -> float:
    return math.sqrt(variance(window) * len(window) / (len(window) - 1))


def rogers_satchell(f: pd.DataFrame) -> Any:
    up, down, body = np.log(f.high / f.open), np.log(f.low / f.open), np.log(f.close / f.open)
    return up * (up - body) + down * (down - body)


def root_mean(variances: Any, period: float) -> Numbers:
    return of_windows(variances, period, lambda window: math.sqrt(max(math.fsum(window) / len(window), 0.0)))


def garman_klass(f: pd.DataFrame, p: list[float]) -> Columns:
    terms = 0.5 * np.log(f.high / f.low) ** 2 - (2 * math.log(2) - 1) * np.log(f.close / f.open) ** 2
    return {"": root_mean(terms, p[0])}


def yang_zhang(f: pd.DataFrame, p: list[float]) -> Columns:
    period = int(p[0])
    gaps = np.log(f.open / f.close.shift(1))
    weight = 0.34 / (1.34 + (period + 1) / (period - 1))
    overnight = of_windows(gaps, period, sample_deviation) ** 2
    body = of_windows(np.log(f.close / f.open), period, sample_deviation) ** 2
    inside = root_mean(rogers_satchell(f), period) ** 2
    return {"": np.sqrt(overnight + weight * body + (1 - weight) * inside)}


def hurst(f: pd.DataFrame, p: list[float]) -> Columns:
    logs, period, lags = np.log(f.close.to_numpy()), int(p[0]), [2**k for k in range(12) if 2**k <= p[0] / 4]
    lags = lags or [1]
    result = np.full(len(logs), math.nan)
    for end in range(period + lags[-1], len(logs) + 1):
        squares = [((logs[end - period : end] - logs[end - period - lag : end - lag]) ** 2).mean() for lag in lags]
        if min(squares) > 0.0:
            result[end - 1] = 0.5 * np.polyfit(np.log(lags), np.log(squares), 1)[0]
    return {"": result}


def pandas_window(name: str, **arguments: Any) -> Callable[[pd.DataFrame, list[float]], Columns]:
    return lambda f, p: {"": getattr(f.close.rolling(int(p[0])), name)(**arguments)}


CASES = {
    "garman_klass": Case(("garman_klass_20", "garman_klass_1"), garman_klass, constant={"": 0.0}),
    "hurst": Case(("hurst_64", "hurst_10"), hurst),
    "kurtosis": Case(("kurtosis_20", "kurtosis_4"), of_closes(kurtosis)),
    "linear_regression": Case(
        ("linear_regression_14", "linear_regression_2"),
        linear_regression,
        lambda f, p: {
            "": talib.LINEARREG(f.close.to_numpy(), int(p[0])),
            "_slope": talib.LINEARREG_SLOPE(f.close.to_numpy(), int(p[0])),
        },
        library_start=0,
        constant={"": 10.0, "_slope": 0.0},
    ),
    "max": Case(
        ("max_20", "max_1"),
        of_closes(lambda window: float(window.max())),
        pandas_window("max"),
        library_start=0,
        constant={"": 10.0},
    ),
    "min": Case(
        ("min_20", "min_1"),
        of_closes(lambda window: float(window.min())),
        pandas_window("min"),
        library_start=0,
        constant={"": 10.0},
    ),
    "parkinson": Case(
        ("parkinson_20", "parkinson_1"),
        lambda f, p: {"": root_mean(np.log(f.high / f.low) ** 2 / (4 * math.log(2)), p[0])},
        constant={"": 0.0},
    ),
    "percentile_rank": Case(
        ("percentile_rank_20",),
        of_closes(percentile_rank),
        lambda f, p: {"": f.close.rolling(int(p[0])).rank(pct=True) * 100.0},
        library_start=0,
        constant={"": 52.5},
        bounds=(0.0, 100.0),
    ),
    "realized_volatility": Case(
        ("realized_volatility_20", "realized_volatility_2"),
        lambda f, p: {"": of_windows(log_returns(f), p[0], sample_deviation)},
        constant={"": 0.0},
    ),
    "rogers_satchell": Case(
        ("rogers_satchell_20", "rogers_satchell_1"),
        lambda f, p: {"": root_mean(rogers_satchell(f), p[0])},
        constant={"": 0.0},
    ),
    "skewness": Case(("skewness_20", "skewness_3"), of_closes(skewness)),
    "std": Case(
        ("std_20", "std_2"),
        of_closes(lambda window: math.sqrt(variance(window))),
        lambda f, p: {"": talib.STDDEV(f.close.to_numpy(), int(p[0]))},
        library_start=0,
        constant={"": 0.0},
    ),
    "variance": Case(
        ("variance_20", "variance_2"),
        of_closes(variance),
        lambda f, p: {"": talib.VAR(f.close.to_numpy(), int(p[0]))},
        library_start=0,
        constant={"": 0.0},
    ),
    "yang_zhang": Case(("yang_zhang_20", "yang_zhang_2"), yang_zhang, constant={"": 0.0}),
    "zscore": Case(("zscore_20", "zscore_2"), of_closes(zscore)),
}

ROWS = [(kind, spec) for kind, case in CASES.items() for spec in case.specs]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(("kind", "spec"), ROWS, ids=[spec for _, spec in ROWS])
def test_a_statistic_follows_the_rule(kind: str, spec: str, rule: Callable[[str, str, Case], None]) -> None:
    rule(kind, spec, CASES[kind])
