"""The indicators of volume follow the rules of every indicator. References: slow definitions, TA-Lib and `ta`."""

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


def hlcv(f: pd.DataFrame) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    return f.high.to_numpy(), f.low.to_numpy(), f.close.to_numpy(), f.volume.to_numpy()


def of_windows(length: int, period: int, compute: Callable[[slice], float], first: int = 0) -> Numbers:
    """Compute a number from each window of `period` bars that starts at bar `first` or later."""
    result = np.full(length, math.nan)
    for end in range(first + period, length + 1):
        result[end - 1] = compute(slice(end - period, end))
    return result


def money_flow_volumes(f: pd.DataFrame) -> Numbers:
    high, low, close, volume = hlcv(f)
    flows = (2 * close - high - low) * volume
    return np.divide(flows, high - low, out=np.zeros(len(f)), where=high > low)


def ad(f: pd.DataFrame, p: list[float]) -> Columns:
    return {"": money_flow_volumes(f).cumsum()}


def chaikin_oscillator(f: pd.DataFrame, p: list[float]) -> Columns:
    line = money_flow_volumes(f).cumsum()
    return {"": ema(line, p[0]) - ema(line, p[1])}


def cmf(f: pd.DataFrame, p: list[float]) -> Columns:
    flow, volume = money_flow_volumes(f), f.volume.to_numpy()

    def of(window: slice) -> float:
        return float(flow[window].sum() / volume[window].sum()) if volume[window].any() else math.nan

    return {"": of_windows(len(f), int(p[0]), of)}


def mfi(f: pd.DataFrame, p: list[float]) -> Columns:
    price = ((f.high + f.low + f.close) / 3.0).to_numpy()
    flow = price * f.volume.to_numpy()
    change = np.diff(price, prepend=price[0])

    def of(window: slice) -> float:
        rising, falling = flow[window][change[window] > 0].sum(), flow[window][change[window] < 0].sum()
        # The usual form of the index, with the ratio of the two.
        return 100.0 - 100.0 / (1.0 + rising / falling) if falling else (100.0 if rising else math.nan)

    return {"": of_windows(len(f), int(p[0]), of, first=1)}


def force_index(f: pd.DataFrame, p: list[float]) -> Columns:
    forces = np.diff(f.close.to_numpy()) * f.volume.to_numpy()[1:]
    return {"": np.concatenate([[math.nan], ema(forces, p[0])])}


def ease_of_movement(f: pd.DataFrame, p: list[float]) -> Columns:
    high, low, _, volume = hlcv(f)
    change = np.diff((high + low) / 2, prepend=math.nan)
    # The box ratio is the volume in 1e8 units divided by the range.
    ease = [c * (h - w) / (v / 1e8) if v else 0.0 for c, h, w, v in zip(change, high, low, volume, strict=True)]
    return {"": of_windows(len(f), int(p[0]), lambda window: float(np.mean(ease[window])), first=1)}


def vpt(f: pd.DataFrame, p: list[float]) -> Columns:
    total, totals = 0.0, [math.nan]
    for before, after, volume in zip(f.close, f.close[1:], f.volume[1:], strict=False):
        total += volume * (after / before - 1.0)
        totals.append(total)
    return {"": totals}


def percentage_oscillator(values: Any, p: list[float]) -> Columns:
    slow = ema(values, p[1])
    line = np.divide(ema(values, p[0]) - slow, slow, out=np.full(len(slow), math.nan), where=slow != 0.0) * 100.0
    signal = ema(line, p[2])
    return {"": line, "_signal": signal, "_histogram": line - signal}


def ta_ppo(f: pd.DataFrame, p: list[float]) -> Columns:
    oscillator = ta.momentum.PercentagePriceOscillator(
        f.close, window_slow=int(p[1]), window_fast=int(p[0]), window_sign=int(p[2])
    )
    return {"": oscillator.ppo(), "_signal": oscillator.ppo_signal(), "_histogram": oscillator.ppo_hist()}


def ta_pvo(f: pd.DataFrame, p: list[float]) -> Columns:
    oscillator = ta.momentum.PercentageVolumeOscillator(
        f.volume, window_slow=int(p[1]), window_fast=int(p[0]), window_sign=int(p[2])
    )
    return {"": oscillator.pvo(), "_signal": oscillator.pvo_signal(), "_histogram": oscillator.pvo_hist()}


def ta_ease_of_movement(f: pd.DataFrame, p: list[float]) -> Columns:
    ease = ta.volume.EaseOfMovementIndicator(f.high, f.low, f.volume.where(f.volume > 0), window=int(p[0]))
    return {"": ease.sma_ease_of_movement()}


CASES = {
    "ad": Case(("ad",), ad, lambda f, p: {"": talib.AD(*hlcv(f))}, library_start=0, constant={"": 0.0}),
    "chaikin_oscillator": Case(
        ("chaikin_oscillator_3_10", "chaikin_oscillator_2_5"),
        chaikin_oscillator,
        lambda f, p: {"": talib.ADOSC(*hlcv(f), *map(int, p))},
        library_start=0,
        constant={"": 0.0},
    ),
    "cmf": Case(
        ("cmf_20", "cmf_2"),
        cmf,
        lambda f, p: {
            "": ta.volume.ChaikinMoneyFlowIndicator(f.high, f.low, f.close, f.volume, int(p[0])).chaikin_money_flow()
        },
        library_start=0,
        bounds=(-1.0, 1.0),
    ),
    "ease_of_movement": Case(
        ("ease_of_movement_14", "ease_of_movement_2"),
        ease_of_movement,
        lambda f, p: ta_ease_of_movement(f, p) if p[0] < 14 else {},
        library_start=0,
        constant={"": 0.0},
    ),
    "force_index": Case(
        ("force_index_13", "force_index_1"),
        force_index,
        lambda f, p: {"": ta.volume.ForceIndexIndicator(f.close, f.volume, window=int(p[0])).force_index()},
        library_start=0,
        constant={"": 0.0},
    ),
    "mfi": Case(
        ("mfi_14", "mfi_3"),
        mfi,
        lambda f, p: {"": talib.MFI(*hlcv(f), int(p[0]))},
        library_start=0,
        bounds=(0.0, 100.0),
    ),
    "ppo": Case(
        ("ppo_12_26_9", "ppo_1_3_2"),
        lambda f, p: percentage_oscillator(f.close, p),
        ta_ppo,
        library_start=0,
        constant={"": 0.0, "_signal": 0.0, "_histogram": 0.0},
    ),
    "pvo": Case(("pvo_12_26_9", "pvo_1_3_2"), lambda f, p: percentage_oscillator(f.volume, p), ta_pvo, library_start=0),
    "vpt": Case(
        ("vpt",),
        vpt,
        lambda f, p: {"": ta.volume.VolumePriceTrendIndicator(f.close, f.volume).volume_price_trend()},
        library_start=0,
        constant={"": 0.0},
    ),
}

ROWS = [(kind, spec) for kind, case in CASES.items() for spec in case.specs]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(("kind", "spec"), ROWS, ids=[spec for _, spec in ROWS])
def test_an_indicator_follows_the_rule(kind: str, spec: str, rule: Callable[[str, str, Case], None]) -> None:
    rule(kind, spec, CASES[kind])
