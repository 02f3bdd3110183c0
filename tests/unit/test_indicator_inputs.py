"""Indicators of other inputs than the close (`sma_20@volume`) and of other indicators (`ema_20(rsi_14)`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from operators.features import FeatureStage
from operators.indicators import INDICATORS, ValueUnit, build, outputs, unit_of_value
from operators.predictions.inputs import input_names, inputs_of, is_model_input
from schemas.errors import BadInput
from schemas.records import SPLIT, Bar, FeatureRow
from tests.builders import corporate_action, feature_row
from tests.unit.indicator_checks import bars_of, constant_bars, json_like, split_bar, values_of
from tests.unit.test_indicators import SPECS

INPUTS: dict[str, Callable[[Bar], float]] = {
    "open": lambda bar: bar.open,
    "high": lambda bar: bar.high,
    "low": lambda bar: bar.low,
    "volume": lambda bar: bar.volume,
    "hl2": lambda bar: (bar.high + bar.low) / 2.0,
    "hlc3": lambda bar: (bar.high + bar.low + bar.close) / 3.0,
    "ohlc4": lambda bar: (bar.open + bar.high + bar.low + bar.close) / 4.0,
    "hlcc4": lambda bar: (bar.high + bar.low + 2.0 * bar.close) / 4.0,
}
CLOSE_ONLY = [spec for spec in SPECS if build(spec).accepts_input]
COMPOSITES = [
    "sma_20@volume",
    "rsi_3@volume",
    "bollinger_5_2@hl2",
    "ema_20(rsi_14)",
    "sma_5(atr_3)",
    "ema_4(obv)",
    "roc_2(macd_3_7_4_histogram)",
    "sma_3(adx_2_plus_di)",
    "macd_3_7_4(sma_4@volume)",
    "sma_3(bollinger_5_2@ohlc4_upper)",
    "sma_2(bollinger_5_2(rsi_2)_lower)",
    "rsi_3(ema_3(sma_2@high))",
]


def with_prices(bars: list[Bar], numbers: list[float]) -> list[Bar]:
    return [one._replace(open=x, high=x, low=x, close=x) for one, x in zip(bars, numbers, strict=True)]


def renamed(rows: list[dict[str, float]], old: str, new: str) -> list[dict[str, float]]:
    return [{new + name.removeprefix(old): value for name, value in row.items()} for row in rows]


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_replaces_the_close(name: str) -> None:
    bars = bars_of(120, seed=21)
    expected = values_of("bollinger_5_2", with_prices(bars, [INPUTS[name](one) for one in bars]))
    assert values_of(f"bollinger_5_2@{name}", bars) == renamed(expected, "bollinger_5_2", f"bollinger_5_2@{name}")


@pytest.mark.parametrize(
    ("outer", "inner", "value"),
    [
        ("ema_20", "rsi_14", "rsi_14"),
        ("bollinger_5_2", "macd_3_7_4", "macd_3_7_4_signal"),
        ("sma_3", "bollinger_5_2@hl2", "bollinger_5_2@hl2_upper"),
        ("rsi_3", "sma_4(roc_2@volume)", "sma_4(roc_2@volume)"),
        ("roc_2", "stochastic_5_1", "stochastic_5_1_k"),
    ],
)
def test_an_indicator_of_an_indicator_reads_its_values_and_skips_bars_without_one(
    outer: str, inner: str, value: str
) -> None:
    bars = bars_of(100, seed=22) + constant_bars(30) + bars_of(100, seed=23)
    with_value = [(i, row[value]) for i, row in enumerate(values_of(inner, bars)) if value in row]
    assert with_value[0][0] > 0, "the inner indicator has no warm-up"
    positions = [i for i, _ in with_value]
    rows = values_of(outer, with_prices([bars[i] for i in positions], [x for _, x in with_value]))
    spec = f"{outer}({value})"
    expected = dict(zip(positions, renamed(rows, outer, spec), strict=True))
    assert values_of(spec, bars) == [expected.get(i, {}) for i in range(len(bars))]


def test_values_have_the_name_of_the_spec_in_the_feature_row() -> None:
    stage = FeatureStage(COMPOSITES)
    row = [stage.on_slice(one.ts_ns, [one])[0] for one in bars_of(60, seed=24)][-1]
    assert type(row) is FeatureRow
    assert set(row.values) == {name for spec in COMPOSITES for name in outputs(spec)}
    assert row.values["sma_20@volume"] == pytest.approx(sum(one.volume for one in bars_of(60, seed=24)[-20:]) / 20)


@pytest.mark.parametrize("spec", COMPOSITES)
def test_a_restart_after_any_bar_changes_no_value(spec: str) -> None:
    bars = bars_of(90, seed=25)
    expected = values_of(spec, bars)
    indicator = build(spec)
    for one, row in zip(bars, expected, strict=True):
        snapshot = json_like(indicator.snapshot())
        indicator = build(spec)
        indicator.restore(snapshot)
        values: dict[str, float] = {}
        indicator.update(one, values)
        assert values == row


@pytest.mark.parametrize("spec", COMPOSITES)
@pytest.mark.parametrize("bars_before", [1, 3, 40])
def test_after_a_split_it_continues_as_if_all_bars_had_been_in_new_shares(spec: str, bars_before: int) -> None:
    bars = bars_of(80, seed=26)
    expected = values_of(spec, [split_bar(one, 4.0) for one in bars])
    indicator = build(spec)
    for index, one in enumerate(bars):
        if index == bars_before:
            indicator.rescale(0.25)
        values: dict[str, float] = {}
        indicator.update(one if index < bars_before else split_bar(one, 4.0), values)
        if index >= bars_before:
            assert values == pytest.approx(expected[index], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("spec", SPECS)
def test_the_declared_unit_defines_how_a_split_changes_the_values(spec: str) -> None:
    bars = bars_of(120, seed=27)
    old, new = values_of(spec, bars)[-1], values_of(spec, [split_bar(one, 4.0) for one in bars])[-1]
    for name in outputs(spec):
        unit = unit_of_value(name)
        assert unit is not None, f"{name} declares no unit"
        assert new[name] == pytest.approx(old[name] * 0.25**unit.price_power, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("spec", SPECS)
def test_an_indicator_accepts_an_input_exactly_if_it_reads_only_the_close(spec: str) -> None:
    bars = bars_of(150, seed=28)
    changed = [
        one._replace(open=one.low, high=one.high + i % 7, low=one.low - i % 5, volume=one.volume + i % 3)
        for i, one in enumerate(bars)
    ]
    assert build(spec).accepts_input == (values_of(spec, bars) == values_of(spec, changed))


@pytest.mark.parametrize("spec", CLOSE_ONLY)
def test_an_input_may_be_zero_or_negative(spec: str) -> None:
    numbers = [0.0, 0.0, 5.0, -3.0, 0.0, 1e9, -1e-9] * 20
    bars = [one._replace(volume=0.0) for one in bars_of(140, seed=29)]
    for row in values_of(spec, with_prices(bars, numbers)):
        assert all(abs(value) < float("inf") for value in row.values())
    values_of(f"{spec}@volume", bars)


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ("sma_20@volume", ValueUnit.VOLUME),
        ("ema_4(obv)", ValueUnit.VOLUME_TOTAL),
        ("macd_3_7_4(obv)", ValueUnit.VOLUME),
        ("roc_3@volume", ValueUnit.RATIO),
        ("sma_3(rsi_3)", ValueUnit.RATIO),
        ("macd_3_7_4@hl2_signal", ValueUnit.PRICE_CHANGE),
        ("bollinger_5_2(sma_3)_upper", ValueUnit.PRICE),
    ],
)
def test_the_unit_follows_from_the_input(value: str, unit: ValueUnit) -> None:
    assert unit_of_value(value) is unit


def test_a_model_reads_composite_values_by_their_unit_and_rejects_volumes() -> None:
    names = input_names(["sma_2@hl2", "sma_2(rsi_3)", "sma_2(atr_3)"])
    row = feature_row("A", 1, 60, close=50.0, values={names[0]: 49.0, names[1]: 60.0, names[2]: 0.5})
    assert inputs_of(row, names) == [pytest.approx(-0.02), 60.0, pytest.approx(0.01)]
    assert not is_model_input("sma_2@volume") and is_model_input("roc_2@volume")
    with pytest.raises(BadInput, match="must not contain sma_2@volume: a volume differs by symbol"):
        input_names(["rsi_3", "sma_2@volume"])


def test_a_split_in_the_feature_stage_converts_composites() -> None:
    specs = ["sma_5@volume", "sma_3(atr_3)", "ema_3(rsi_3)"]
    bars = bars_of(60, seed=30)
    stage = FeatureStage(specs)
    for one in bars[:30]:
        stage.on_slice(one.ts_ns, [one])
    restored = FeatureStage(specs)
    restored.restore(stage.snapshot())
    expected = [values_of(spec, [split_bar(one, 4.0) for one in bars]) for spec in specs]
    split = corporate_action("s", SPLIT, "AAPL", ratio=4)
    for index in range(30, 60):
        [row] = restored.on_slice(bars[index].ts_ns, [*([split] if index == 30 else []), split_bar(bars[index], 4.0)])
        assert type(row) is FeatureRow
        assert row.values == pytest.approx({k: v for rows in expected for k, v in rows[index].items()}, rel=1e-9)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sma_20@volum", "unknown input 'volum'; did you mean volume? Known inputs: open, high, low, volume, hl2,"),
        ("sma_20@", "unknown input ''. Known inputs: open"),
        ("sma_20@close", "the close is the default input; write sma_20"),
        ("sma_20(volume)", "volume is an input of the bar; write sma_20@volume"),
        ("sma_20@rsi_14", "For the values of an indicator, write sma_20(rsi_14)"),
        ("atr_14@hl2", "atr reads more than the close, so it accepts no other input; write atr_14. Indicators that"),
        ("ema_20(rsii_14)", "'ema_20(rsii_14)': unknown indicator 'rsii_14'; did you mean rsi_14?"),
        ("ema_20(bollinger_20_2)", "has several values; select one of bollinger_20_2_upper, bollinger_20_2_middle"),
        ("ema_20(rsi_14_upper)", "must have the form rsi_<period>"),
        ("ema_20(rsi_14)@volume", "has two inputs; write ema_20(rsi_14@volume) or ema_20@volume"),
        ("ema_20(rsi_14", "its parentheses do not match; write for example ema_20(rsi_14)"),
        ("ema_20(rsi_14)(sma_3)", "must have the form"),
        ("ema(rsi_14)", "must have the form ema_<period>(rsi_14)"),
        ("ema_20()", "unknown indicator ''"),
        ("@volume", "unknown indicator '@volume'"),
        ("sma_2(" * 9 + "sma_2" + ")" * 9, "nested too deeply; at most 8 indicators"),
    ],
)
def test_an_invalid_input_is_rejected_with_the_correct_form(spec: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        build(spec)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_every_indicator_that_accepts_an_input_declares_its_units() -> None:
    assert all(one.units for one in INDICATORS.values() if one.accepts_input)
