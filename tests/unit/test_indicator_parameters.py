"""A spec with parameters that make no sense is rejected with the rule and the number found."""

from __future__ import annotations

import pytest

from operators.indicators import build
from schemas.errors import BadInput


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("wma_0", "a period must be at least 1 bars, found 0"),
        ("hma_1", "a period must be at least 2 bars, found 1"),
        ("kama_10_30_2", "the fast period must be below the slow period, found 30 and 2"),
        ("alma_9_1.5_6", "the offset must be 0 to 1, found 1.5"),
        ("alma_9_0.85_0", "sigma must be > 0, found 0"),
        ("alma_2_0.5_1000", "sigma is too large for the period: all weights are 0, found 1000"),
        ("t3_5_2", "the volume factor must be 0 to 1, found 2"),
        ("keltner_20_10_0", "width must be > 0 average true ranges, found 0"),
        ("keltner_20_0_2", "a period must be at least 1 bars, found 0"),
        ("supertrend_10_0", "the multiplier must be > 0, found 0"),
        ("psar_0.3_0.2", "0 < step <= maximum <= 1 is required, found step 0.3 and maximum 0.2"),
        ("ichimoku_26_9_52", "conversion <= base <= leading is required, found 26, 9 and 52"),
        ("chaikin_oscillator_10_3", "the fast period must be below the slow period, found 10 and 3"),
        ("pvo_26_12_9", "the fast period must be below the slow period, found 26 and 12"),
        ("slow_stochastic_14_3_0", "a period must be at least 1 bars, found 0"),
        ("stochastic_rsi_1_14_3_3", "a period must be at least 2 bars, found 1"),
        ("ultimate_oscillator_7_28_14", "the periods must increase from short to long, found 7, 28 and 14"),
        ("kst_10_15_20_30_10_10_10_0_9", "a period must be at least 1 bars, found 0"),
        ("choppiness_1", "a period must be at least 2 bars, found 1"),
        ("slow_stochastic_14_3", "must have the form slow_stochastic_<period>_<smooth_k>_<smooth_d>"),
    ],
)
def test_a_wrong_parameter_is_rejected(spec: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        build(spec)
    assert message in str(error.value) and spec in str(error.value)
