"""The indicators that users were promised, in the words of the promise, exist and agree with TA-Lib or `ta`.

The values are compared in the files that test each kind (`CASES` and `ORACLES`). This file checks that nothing of the
list is missing, and that each indicator that TA-Lib or `ta` has is compared with it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import talib

from operators.indicators import INDICATORS, build, outputs
from operators.indicators.candles import PATTERNS
from operators.indicators.specs import kind_of
from operators.trading.pair_statistics import parse_pair_spec
from tests.unit.indicator_checks import Case
from tests.unit.test_indicators import ORACLES

PROMISED: dict[str, tuple[str, ...]] = {
    "WMA": ("wma_10",),
    "DEMA": ("dema_10",),
    "TEMA": ("tema_10",),
    "HMA": ("hma_16",),
    "KAMA": ("kama_10_2_30",),
    "VWMA": ("vwma_20",),
    "ALMA": ("alma_9_0.85_6",),
    "T3": ("t3_5_0.7",),
    "Donchian": ("donchian_20",),
    "Keltner": ("keltner_20_10_2",),
    "SuperTrend": ("supertrend_10_3",),
    "PSAR": ("psar_0.02_0.2",),
    "Ichimoku": ("ichimoku_9_26_52",),
    "StochRSI": ("stochastic_rsi_14_14_3_3",),
    "slow stochastic": ("slow_stochastic_14_3_3",),
    "Williams %R": ("williams_r_14",),
    "MFI": ("mfi_14",),
    "CMF": ("cmf_20",),
    "A/D": ("ad",),
    "Chaikin oscillator": ("chaikin_oscillator_3_10",),
    "force index": ("force_index_13",),
    "ease of movement": ("ease_of_movement_14",),
    "VPT": ("vpt",),
    "Aroon": ("aroon_25",),
    "TRIX": ("trix_15",),
    "TSI": ("tsi_25_13",),
    "PPO": ("ppo_12_26_9",),
    "PVO": ("pvo_12_26_9",),
    "momentum": ("momentum_10",),
    "ultimate oscillator": ("ultimate_oscillator_7_14_28",),
    "Vortex": ("vortex_14",),
    "DPO": ("dpo_20",),
    "KST": ("kst_10_15_20_30_10_10_10_15_9",),
    "mass index": ("mass_index_9_25",),
    "ulcer index": ("ulcer_index_14",),
    "Fisher transform": ("fisher_9",),
    "choppiness": ("choppiness_14",),
    "standard deviation": ("std_20",),
    "variance": ("variance_20",),
    "z-score": ("zscore_20",),
    "percentile rank": ("percentile_rank_20",),
    "skewness": ("skewness_20",),
    "kurtosis": ("kurtosis_20",),
    "linear regression (value, slope, R²)": ("linear_regression_14",),
    "rolling correlation and beta against another symbol": ("correlation_60(SPY)", "beta_60(SPY)"),
    "realized volatility (close, Parkinson, Garman-Klass, Rogers-Satchell, Yang-Zhang)": (
        "realized_volatility_20",
        "parkinson_20",
        "garman_klass_20",
        "rogers_satchell_20",
        "yang_zhang_20",
    ),
    "Hurst exponent": ("hurst_64",),
    "rolling max and min": ("max_20", "min_20"),
    "pivots": ("pivots",),
    "prior day's high/low/close": ("prior_day",),
    "opening range": ("opening_range_15",),
    "session VWAP with bands": ("vwap_bands_2",),
    "anchored VWAP": ("anchored_vwap_20240102",),
    "spread": ("quoted_spread", "corwin_schultz_20"),
    "order imbalance": ("order_imbalance",),
    "Amihud illiquidity": ("amihud_20",),
    "the candle patterns of TA-Lib": tuple(f"candle_{name}" for name in PATTERNS),
    "chaining (`ema_20(rsi_14)`)": ("ema_20(rsi_14)",),
    "other inputs (`sma_20@volume`, `@hl2`)": ("sma_20@volume", "sma_20@hl2"),
    "other intervals": ("ema_20@15m",),
}
"""Specs by the words of the issue that asked for them, in its order."""
IN_NEITHER_LIBRARY = {
    *("alma", "supertrend", "fisher", "zscore", "skewness", "kurtosis", "hurst"),
    *("realized_volatility", "parkinson", "garman_klass", "rogers_satchell", "yang_zhang"),
    *("pivots", "prior_day", "opening_range", "vwap_bands", "anchored_vwap"),
    *("quoted_spread", "corwin_schultz", "order_imbalance", "amihud"),
}
"""TA-Lib and `ta` lack these, so only a definition, or pandas, tests their values."""


def cases() -> dict[str, Case]:
    """Return the cases of all test files of indicators by kind."""
    found: dict[str, Case] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        text = path.read_text()
        if "\nCASES" in text and "indicator_checks" in text:
            found |= {
                kind: case
                for kind, case in import_module(f"tests.unit.{path.stem}").CASES.items()
                if isinstance(case, Case)
            }
    return found


@pytest.mark.parametrize("promise", PROMISED)
def test_a_promised_indicator_exists(promise: str) -> None:
    for spec in PROMISED[promise]:
        if parse_pair_spec(spec) is None:
            assert outputs(spec), build(spec)


def test_an_indicator_with_several_values_has_all_of_them() -> None:
    assert set(outputs("linear_regression_14")) == {
        "linear_regression_14",
        "linear_regression_14_slope",
        "linear_regression_14_r2",
    }
    assert {"prior_day_high", "prior_day_low", "prior_day_close"} <= set(outputs("prior_day"))


def test_every_candle_pattern_of_talib_exists_and_is_compared_with_it() -> None:
    assert sorted(one.talib_name for one in PATTERNS.values()) == talib.get_function_groups()["Pattern Recognition"]


def test_every_promised_indicator_of_a_library_is_compared_with_it() -> None:
    """A case without a library may only be that of an indicator which neither library has."""
    of_library = {kind for kind, case in cases().items() if case.library is not None} | ORACLES.keys()
    kinds = {
        kind_of(spec, INDICATORS)
        for specs in PROMISED.values()
        for spec in specs
        if parse_pair_spec(spec) is None and not spec.startswith("candle_")
    }
    assert {kind for kind in kinds if kind not in of_library} == IN_NEITHER_LIBRARY
