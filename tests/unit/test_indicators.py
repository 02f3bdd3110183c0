"""The tests discover every indicator and check it against one contract. Its oracle is a row of `ORACLES`.

Oracles: TA-Lib 0.8 for RSI, ATR, ADX, CCI, ROC, OBV and SMA; `ta` 0.11 for EMA and MACD (seeded with the first close)
and the stochastic oscillator; the definition and `ta` for Bollinger; pandas by session for VWAP.
"""

from __future__ import annotations

import math
import random
import re
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ta
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.indicators import INDICATORS, build, outputs, spec_template
from operators.indicators.specs import kind_of
from schemas.errors import BadInput
from schemas.records import Bar
from tests.unit.indicator_checks import (
    Case,
    Columns,
    Computation,
    a_pause_over_a_split_leaves_no_rounding_error,
    bars_of,
    constant_bars,
    json_like,
    split_bar,
    values_of,
)


def talib_adx(f: pd.DataFrame, p: list[float]) -> Columns:
    hlc = (f.high.to_numpy(), f.low.to_numpy(), f.close.to_numpy(), int(p[0]))
    return {"": talib.ADX(*hlc), "_plus_di": talib.PLUS_DI(*hlc), "_minus_di": talib.MINUS_DI(*hlc)}


def windows_bollinger(f: pd.DataFrame, p: list[float]) -> Columns:
    """Compute each window by definition. `ta` (pandas) and TA-Lib use running sums that drift while prices are flat."""
    windows = np.lib.stride_tricks.sliding_window_view(f.close.to_numpy(), int(p[0]))
    mean, spread = windows.mean(axis=1), windows.std(axis=1)
    warm_up = np.full(int(p[0]) - 1, np.nan)
    bands = {"_upper": mean + p[1] * spread, "_middle": mean, "_lower": mean - p[1] * spread}
    return {suffix: np.concatenate([warm_up, band]) for suffix, band in bands.items()}


def talib_sma(f: pd.DataFrame, p: list[float]) -> Columns:
    # The SMA of TA-Lib requires a period of at least 2.
    return {"": f.close if p[0] == 1 else talib.SMA(f.close.to_numpy(), int(p[0]))}


def ta_macd(f: pd.DataFrame, p: list[float]) -> Columns:
    macd = ta.trend.MACD(f.close, window_fast=int(p[0]), window_slow=int(p[1]), window_sign=int(p[2]))
    return {"": macd.macd(), "_signal": macd.macd_signal(), "_histogram": macd.macd_diff()}


def ta_stochastic(f: pd.DataFrame, p: list[float]) -> Columns:
    oscillator = ta.momentum.StochasticOscillator(f.high, f.low, f.close, window=int(p[0]), smooth_window=int(p[1]))
    return {"_k": oscillator.stoch(), "_d": oscillator.stoch_signal()}


def pandas_vwap(f: pd.DataFrame, p: list[float]) -> Columns:
    session_keys = [f.trading_day, f.session]
    notional = ((f.high + f.low + f.close) / 3.0 * f.volume).groupby(session_keys).cumsum()
    volume = f.volume.groupby(session_keys).cumsum()
    return {"": notional / volume.where(volume > 0)}


ORACLES: dict[str, tuple[list[str], Computation]] = {
    "adx": (["adx_14", "adx_2", "adx_5"], talib_adx),
    "atr": (
        ["atr_14", "atr_1", "atr_3"],
        lambda f, p: {"": talib.ATR(f.high.to_numpy(), f.low.to_numpy(), f.close.to_numpy(), int(p[0]))},
    ),
    "bollinger": (["bollinger_20_2", "bollinger_5_2.5"], windows_bollinger),
    "cci": (
        ["cci_20", "cci_5"],
        lambda f, p: {"": talib.CCI(f.high.to_numpy(), f.low.to_numpy(), f.close.to_numpy(), int(p[0]))},
    ),
    "ema": (
        ["ema_12", "ema_26", "ema_1"],
        lambda f, p: {"": ta.trend.EMAIndicator(f.close, window=int(p[0])).ema_indicator()},
    ),
    "macd": (["macd_12_26_9", "macd_3_7_4"], ta_macd),
    "obv": (["obv"], lambda f, p: {"": talib.OBV(f.close.to_numpy(), f.volume.to_numpy())}),
    "roc": (["roc_10", "roc_1"], lambda f, p: {"": talib.ROC(f.close.to_numpy(), int(p[0]))}),
    "rsi": (["rsi_14", "rsi_2"], lambda f, p: {"": talib.RSI(f.close.to_numpy(), int(p[0]))}),
    "sma": (["sma_20", "sma_1"], talib_sma),
    "stochastic": (["stochastic_14_3", "stochastic_5_1", "stochastic_3_3"], ta_stochastic),
    "vwap": (["vwap"], pandas_vwap),
}
SPECS = [spec for specs, _ in ORACLES.values() for spec in specs]


def test_every_registered_indicator_has_an_oracle() -> None:
    """The other ones are in `CASES` of the files that test them."""
    tested = set(ORACLES)
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        text = path.read_text()
        if "\nCASES" in text and ("indicator_checks" in text or "operators.indicators" in text):
            tested |= set(getattr(import_module(f"tests.unit.{path.stem}"), "CASES", ()))
    assert tested == set(INDICATORS)


def test_the_documentation_lists_every_indicator_and_marks_those_that_accept_an_input() -> None:
    page = (Path(__file__).parents[2] / "docs/howto/indicator.md").read_text()
    listed = {}
    for line in page.partition("## Indicators\n")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`"):
            for spec in re.findall("`(.*?)`", cells[0]):
                listed[kind_of(spec, INDICATORS)] = cells[2] == "yes"
                build(spec)
    assert listed == {kind: indicator.accepts_input for kind, indicator in INDICATORS.items()}


@pytest.mark.parametrize("price", [100.0, 1e5])
@pytest.mark.parametrize("spec", SPECS)
def test_values_equal_the_oracle_and_are_absent_where_it_has_none(spec: str, price: float) -> None:
    bars = bars_of(1_500, seed=3, price=price)
    kind, *parameters = spec.split("_")
    expected = ORACLES[kind][1](pd.DataFrame(bars), [float(text) for text in parameters])
    assert {spec + suffix for suffix in expected} == set(outputs(spec))
    actual = values_of(spec, bars)
    for suffix, column in expected.items():
        oracle_values = np.asarray(column, dtype=float)
        assert np.isfinite(oracle_values).sum() > 1_000
        for index, (values, oracle_value) in enumerate(zip(actual, oracle_values, strict=True)):
            value = values.get(spec + suffix)
            if math.isnan(oracle_value):
                assert value is None, f"{spec}{suffix} at bar {index}: oracle has none, found {value}"
            elif value is None:
                # TA-Lib returns zero for 0/0.
                assert oracle_value == 0.0 and kind in ("cci", "rsi"), (
                    f"{spec}{suffix} at bar {index}: absent, oracle {oracle_value}"
                )
            else:
                # A price difference is only as exact as its prices.
                assert value == pytest.approx(oracle_value, rel=1e-9, abs=1e-12 * price), (
                    f"{spec}{suffix} at bar {index}"
                )


@pytest.mark.parametrize("spec", SPECS)
def test_a_restart_after_any_bar_changes_no_value(spec: str) -> None:
    bars = bars_of(160, seed=5)
    expected = values_of(spec, bars)
    running = build(spec)
    for cut, current in enumerate(bars):
        restored = build(spec)
        restored.restore(json_like(running.snapshot()))
        for index in range(cut, min(cut + 45, len(bars))):
            values: dict[str, float] = {}
            restored.update(bars[index], values)
            assert values == expected[index]
        running.update(current, {})


@pytest.mark.parametrize("spec", SPECS)
def test_snapshots_are_not_changed_by_later_bars(spec: str) -> None:
    bars = bars_of(120, seed=7)
    indicator = build(spec)
    for one in bars[:60]:
        indicator.update(one, {})
    snapshot = indicator.snapshot()
    text = repr(snapshot)
    restored = build(spec)
    restored.restore(snapshot)
    for one in bars[60:]:
        indicator.update(one, {})
        assert repr(snapshot) == text
    assert repr(restored.snapshot()) == text


@pytest.mark.parametrize("spec", SPECS)
def test_the_state_does_not_grow_with_history(spec: str) -> None:
    def size(state: Any) -> int:
        return sum(map(size, state)) if isinstance(state, tuple) else 1

    indicator = build(spec)
    sizes = []
    for one in bars_of(2_000, seed=9):
        indicator.update(one, {})
        sizes.append(size(indicator.snapshot()))
    parameters = [float(text) for text in spec.split("_")[1:]]
    assert max(sizes) <= 8 + 3 * sum(parameters)
    assert max(sizes[1_000:]) == max(sizes[:1_000])


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.split("_")[0] not in ("obv", "vwap")])
def test_warm_up_is_absent_never_zero(spec: str) -> None:
    # Every bar has a non-zero range, so values are undefined only during warm-up.
    rows = values_of(spec, [bar._replace(high=bar.high + 0.01) for bar in bars_of(200, seed=11)])
    for name in outputs(spec):
        first = next(index for index, values in enumerate(rows) if name in values)
        assert first >= int(spec.split("_")[1]) - 1
        assert all(name in values for values in rows[first:])
    counts = [len(values) for values in rows]
    assert counts == sorted(counts)


@pytest.mark.parametrize("spec", ["rsi_14", "cci_20", "stochastic_14_3", "vwap"])
def test_undefined_values_on_a_constant_price_are_absent(spec: str) -> None:
    assert values_of(spec, constant_bars(100)) == [{}] * 100


def test_long_constant_price_gives_no_rounding_artifacts() -> None:
    bars = bars_of(100, seed=2) + constant_bars(30_000)
    for spec in ("rsi_14", "adx_14"):
        last = values_of(spec, bars)[-1]
        assert all(0.0 <= value <= 100.0 for value in last.values())
    assert values_of("rsi_14", bars)[-1] == {}


def test_a_session_has_its_own_vwap() -> None:
    bars = bars_of(300, seed=4)
    rows = values_of("vwap", bars)
    for before, first, values in zip(bars, bars[1:], rows[1:], strict=False):
        if (before.session, before.trading_day) != (first.session, first.trading_day) and first.volume:
            assert values["vwap"] == pytest.approx((first.high + first.low + first.close) / 3.0, rel=1e-15)


@pytest.mark.parametrize("bars", [200_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_running_sums_are_exact_after_many_bars(bars: int) -> None:
    rng = random.Random(13)
    template = bars_of(1, seed=1)[0]
    sma, bollinger, cci = build("sma_20"), build("bollinger_20_2"), build("cci_20")
    closes: list[float] = []
    close = 1e5
    for index in range(bars):
        # An occasional wild print leaves a permanent error in a naive running sum.
        close = 1e5 + rng.gauss(0.0, 1.0) if index % 997 else 1e9
        closes.append(close)
        values: dict[str, float] = {}
        flat_bar = template._replace(high=close, low=close, close=close)
        sma.update(flat_bar, values)
        bollinger.update(flat_bar, values)
        cci.update(flat_bar, values)
        if index % 9_973 == 0 and index >= 20:
            window = [Fraction(one) for one in closes[-20:]]
            mean = sum(window, Fraction()) / 20
            spread = math.sqrt(sum((one - mean) ** 2 for one in window) / 20)
            assert values["sma_20"] == pytest.approx(float(mean), rel=3e-13)
            assert values["bollinger_20_2_middle"] == pytest.approx(float(mean), rel=1e-9)
            actual_spread = (values["bollinger_20_2_upper"] - values["bollinger_20_2_lower"]) / 4
            assert actual_spread == pytest.approx(spread, rel=1e-9)
            deviation = sum((abs(one - mean) for one in window), Fraction()) / 20
            assert values["cci_20"] == pytest.approx(float((window[-1] - mean) / deviation) / 0.015, rel=1e-6)
        if len(closes) > 1_000:
            del closes[:900]


PRICES = st.floats(min_value=1e-3, max_value=1e6, allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(PRICES, PRICES, PRICES, st.floats(0.0, 1e9)), min_size=1, max_size=60))
def test_bounded_indicators_stay_in_their_bounds_whatever_the_prices(
    prices: list[tuple[float, float, float, float]],
) -> None:
    template = bars_of(1, seed=1)[0]
    bars: list[Bar] = []
    for one, two, three, volume in prices:
        low, close, high = sorted((one, two, three))
        bars.append(template._replace(high=high, low=low, close=close, volume=volume))
    slack = 1e-6
    for spec in ("rsi_3", "adx_3", "stochastic_4_2"):
        for values in values_of(spec, bars):
            assert all(-slack <= value <= 100.0 + slack for value in values.values()), spec
    for values in values_of("bollinger_4_2", bars):
        if values:
            assert values["bollinger_4_2_lower"] <= values["bollinger_4_2_middle"] <= values["bollinger_4_2_upper"]
    lowest, highest = min(bar.low for bar in bars), max(bar.high for bar in bars)
    for spec in ("ema_5", "sma_5", "vwap"):
        for row in values_of(spec, bars):
            assert all(lowest * (1 - 1e-9) <= value <= highest * (1 + 1e-9) for value in row.values()), spec


def test_macd_is_the_difference_of_the_emas_beside_it() -> None:
    bars = bars_of(300, seed=6)
    fast, slow, macd = values_of("ema_12", bars), values_of("ema_26", bars), values_of("macd_12_26_9", bars)
    for one, two, three in zip(fast, slow, macd, strict=True):
        if "ema_26" in two:
            assert three["macd_12_26_9"] == one["ema_12"] - two["ema_26"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("emma_12", "unknown indicator 'emma_12'; did you mean ema_12? Its form is ema_<period>"),
        ("xyz_3", "unknown indicator 'xyz_3'. Known indicators: ad, adx_<period>, "),
        ("", "Known indicators: "),
        ("ema", "must have the form ema_<period>"),
        ("ema_12_3", "must have the form ema_<period>"),
        ("macd_12_26", "must have the form macd_<fast>_<slow>_<signal>"),
        ("ema_x", "'x' is not a whole number"),
        ("ema_1.5", "'1.5' is not a whole number"),
        ("ema_-3", "'-3' is not a whole number"),
        ("bollinger_20_nan", "'nan' is not a number"),
        ("bollinger_20_2.50", "write '2.50' as 2.5"),
        ("ema_012", "write '012' as 12"),
        ("ema_0", "at least 1 bars, found 0"),
        ("rsi_1", "at least 2 bars, found 1"),
        ("macd_26_12_9", "the fast period must be below the slow period, found 26 and 12"),
        ("bollinger_20_0", "width must be > 0 standard deviations, found 0"),
    ],
)
def test_invalid_spec_is_rejected_with_the_correct_form(spec: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        build(spec)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_every_kind_has_a_form_and_its_outputs_carry_the_spec() -> None:
    for kind, (specs, _) in ORACLES.items():
        assert spec_template(kind).split("_")[0] == kind
        for spec in specs:
            assert tuple(values_of(spec, bars_of(200, seed=8))[-1]) == outputs(spec)


def test_bollinger_bands_equal_those_of_ta() -> None:
    bars = bars_of(1_500, seed=3)
    ta_bands = ta.volatility.BollingerBands(pd.DataFrame(bars).close, 20, 2)
    for column, suffix in ((ta_bands.bollinger_hband(), "upper"), (ta_bands.bollinger_lband(), "lower")):
        for one, values in zip(column[19:], values_of("bollinger_20_2", bars)[19:], strict=True):
            assert values[f"bollinger_20_2_{suffix}"] == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("bars_before", [1, 3, 40, 250])
def test_after_a_split_an_indicator_continues_as_if_all_bars_had_been_in_new_shares(
    spec: str, bars_before: int
) -> None:
    bars = bars_of(400, seed=7)
    new_bars = [split_bar(one, 4.0) for one in bars]
    indicator, expected = build(spec), build(spec)
    for index, (old, new) in enumerate(zip(bars, new_bars, strict=True)):
        if index == bars_before:
            indicator.rescale(0.25)
        values: dict[str, float] = {}
        expected_values: dict[str, float] = {}
        indicator.update(old if index < bars_before else new, values)
        expected.update(new, expected_values)
        if index >= bars_before:
            assert values == pytest.approx(expected_values, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("spec", SPECS)
def test_a_pause_over_a_split_leaves_no_rounding_error(spec: str) -> None:
    kind = spec.split("_")[0]
    a_pause_over_a_split_leaves_no_rounding_error(kind, spec, Case((spec,), ORACLES[kind][1]))
