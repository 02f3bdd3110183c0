"""Fields of the bar, of its session, and indicators of other intervals in the row of a view strategy."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.settings import Settings, load_settings
from configs.strategies import configured_features
from dataflows.research.strategy_dry_run import decisions_of
from dataflows.runtime import stages
from operators.features import FeatureStage
from operators.indicators import INDICATORS, build, outputs, unit_of_value
from operators.signals import SignalStage
from operators.strategies import TargetView
from operators.trading.event_bars import bar_builder
from operators.trading.intervals import parse_interval
from operators.trading.sessions import SessionBounds
from schemas.errors import BadInput
from schemas.records import PRE, Bar, FeatureRow, Signal
from tests.builders import bar, corporate_action
from tests.unit.indicator_checks import RULES, Case
from tests.unit.test_trading_resampling import random_bars, resampled_by_pandas
from tests.unit.trading_harness import DAY, MINUTE_NS, OPEN_NS, minute, session

BOUNDS = SessionBounds(OPEN_NS, OPEN_NS + 390 * MINUTE_NS)
BAR_FIELDS = ("open", "high", "low", "close", "volume")
SESSION_FIELDS = ("minutes_since_open", "minutes_to_close", "early_close")


def field_case(name: str) -> Case:
    constant = {"": 0.0 if name == "volume" else 10.0}
    return Case((name,), lambda f, p: {"": f[name]}, constant=constant)


CASES: dict[str, Case | None] = {**{name: field_case(name) for name in BAR_FIELDS}, **dict.fromkeys(SESSION_FIELDS)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", BAR_FIELDS)
def test_a_field_of_the_bar_follows_the_rules_of_indicators(name: str, rule: Callable[[str, str, Case], None]) -> None:
    rule(name, name, field_case(name))


def rows_of(stage: FeatureStage, bars: list[Bar]) -> list[dict[str, float]]:
    rows = []
    for one in bars:
        for row in stage.on_slice(one.ts_ns, [one]):
            assert type(row) is FeatureRow, "no indicator fails"
            rows.append(row.values)
    return rows


@pytest.mark.parametrize(("minutes", "early"), [(390, False), (210, True)])
def test_a_row_has_the_session_of_its_bar(minutes: int, early: bool) -> None:
    days = {DAY: session(minutes=minutes, early_close=early)}
    before = bar("KO", 1, OPEN_NS - 5 * MINUTE_NS, 100.0, session=PRE)
    rows = rows_of(FeatureStage(SESSION_FIELDS, days), [before, *random_bars(1, 3)])
    assert [[row[name] for name in SESSION_FIELDS] for row in rows] == [
        [-5, minutes + 5, early],
        *[[number, minutes - number, early] for number in (1, 2, 3)],
    ]


def test_without_trading_hours_the_close_of_the_session_is_absent() -> None:
    [row] = rows_of(FeatureStage(SESSION_FIELDS), random_bars(1, 1))
    assert row == {"minutes_since_open": 1.0}


@pytest.mark.parametrize("interval", ["5m", "15m", "1h"])
def test_a_row_has_the_fields_of_the_last_closed_bar_of_pandas(interval: str) -> None:
    minute_bars = random_bars(3)
    specs = tuple(f"{name}@{interval}" for name in BAR_FIELDS)
    rows: Any = pd.DataFrame(rows_of(FeatureStage(specs, {DAY: session()}), minute_bars))
    expected: Any = resampled_by_pandas(minute_bars, interval)
    step = pd.Timedelta(interval.replace("m", "min"))
    ends = (expected.index + step).map(lambda end: min(end, pd.Timestamp(OPEN_NS + 390 * MINUTE_NS)))
    times: Any = pd.to_datetime([one.ts_ns for one in minute_bars])
    for name in BAR_FIELDS:
        closed = pd.Series(expected[name].to_numpy(), index=ends).reindex(times, method="ffill")
        np.testing.assert_array_equal(rows[f"{name}@{interval}"].to_numpy(), closed.to_numpy())


@pytest.mark.parametrize("interval", ["5m", "2000v", "renko_0.5", "heikin_ashi_5m"])
@pytest.mark.parametrize("spec", ["ema_3", "sma_4@volume", "ema_3(roc_2)", "macd_3_6_2"])
def test_an_indicator_of_an_interval_reads_its_bars(spec: str, interval: str) -> None:
    minute_bars = random_bars(5, missing=0.2)
    name = f"{spec}@{interval}"
    builder, inner, expected = bar_builder(parse_interval(interval)), build(spec), list[dict[str, float]]()
    last: dict[str, float] = {}
    for one in minute_bars:
        for closed in builder.update(one, BOUNDS):
            last = {}
            inner.update(closed, last)
        expected.append({name + key.removeprefix(spec): value for key, value in last.items()})
    stage = FeatureStage([name], {DAY: session()})
    rows = rows_of(stage, minute_bars)
    assert rows == expected
    assert set(rows[-1]) == set(outputs(name))
    assert unit_of_value(outputs(name)[-1]) == unit_of_value(outputs(spec)[-1])


SPECS = ("ema_3@5m", "close@15m", "high@heikin_ashi_5m", "sma_2@volume@5m", "close@renko_0.5", *SESSION_FIELDS)


def test_a_restart_at_every_bar_and_a_split_change_nothing() -> None:
    days = {DAY: session()}
    split = corporate_action("spl-1", "SPLIT", "KO", ratio=2)
    results = []
    for restart in (False, True):
        stage, rows = FeatureStage(SPECS, days), list[Any]()
        for number, one in enumerate(random_bars(7, 120), start=1):
            if number > 60:
                one = one._replace(**{name: getattr(one, name) / 2 for name in BAR_FIELDS[:4]}, volume=2 * one.volume)
            rows += stage.on_slice(one.ts_ns, [split, one] if number == 61 else [one])
            if restart:
                snapshot = pickle.dumps(stage.snapshot())
                stage = FeatureStage(SPECS, days)
                stage.restore(pickle.loads(snapshot))  # noqa: S301  (written here)
        results.append(rows)
    assert results[0] == results[1]
    unsplit = rows_of(FeatureStage(SPECS[:4], days), random_bars(7, 120))
    for name, factor in (("ema_3@5m", 0.5), ("close@15m", 0.5), ("high@heikin_ashi_5m", 0.5), ("sma_2@volume@5m", 2.0)):
        found = [row.values.get(name) for row in results[0][60:]]
        assert found == pytest.approx([row[name] * factor for row in unsplit[60:]], rel=1e-9)


def test_a_view_strategy_decides_by_the_session_and_a_longer_interval() -> None:
    class LastHour:
        name = "last_hour"
        features = ("minutes_to_close", "close@15m", "high")

        def decide(self, row: Any, state: Any) -> tuple[Any, TargetView | None]:
            high, quarter = row.values["high"], row.values.get("close@15m")
            if row.values["minutes_to_close"] > 60 or quarter is None or high <= quarter:
                return state, None
            return state, TargetView(1, 1.0, 1.0, {"high": high, "close@15m": quarter})

    strategy = LastHour()
    features, signals, found = FeatureStage(strategy.features, {DAY: session()}), SignalStage([strategy]), list[Any]()
    for one in random_bars(9):
        found += signals.on_slice(one.ts_ns, features.on_slice(one.ts_ns, [one]))
    [signal] = found
    assert type(signal) is Signal
    assert signal.ts_ns >= minute(330)
    assert signal.parts["high"] > signal.parts["close@15m"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ema_20@15x", "interval must be a text such as 15m"),
        ("ema_20@5m@15m", "an interval is written once, at the end"),
        ("ema_20(rsi_14@5m)", "an interval is written once, at the end"),
        ("ema_20@100t", "do not contain the number of trades"),
        ("ema_20@volum", "unknown input 'volum'; did you mean volume?"),
        ("emaa_20@5m", "unknown indicator 'emaa_20'; did you mean ema_20?"),
    ],
)
def test_a_malformed_interval_is_rejected(spec: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        build(spec)
    assert message in str(error.value)


def test_the_settings_give_the_stage_trading_hours_and_check_the_interval(tmp_path: Path) -> None:
    simulator = "market_data: {simulator: {interval_s: 60}}\n"

    def settings_of(*indicators: str) -> Settings:
        file = tmp_path / "settings.yaml"
        file.write_text(f"features: {{indicators: {list(indicators)}}}\n" + simulator)
        return load_settings(file, {})

    stage = stages.features(settings_of("minutes_to_close", "ema_2@5m"))()
    [row] = stage.on_slice(minute(1), [bar("KO", 1, minute(1), 100.0)])
    assert type(row) is FeatureRow
    assert "minutes_to_close" in row.values
    with pytest.raises(BadInput, match="the interval 90s must be a multiple of the bars of the feed, 1m"):
        configured_features(settings_of("ema_2@90s"))


def test_the_dry_run_of_a_strategy_has_the_trading_hours(tmp_path: Path) -> None:
    source = (
        "from operators.strategies import TargetView\n"
        "class Late:\n"
        "    name, features = 'late', ('minutes_to_close', 'close@5m')\n"
        "    def decide(self, row, state):\n"
        "        if row.values['minutes_to_close'] != 380:\n"
        "            return state, None\n"
        "        return state, TargetView(1, 1.0, 1.0, {'close@5m': row.values['close@5m']})\n"
    )
    file = tmp_path / "late.py"
    file.write_text(source)
    decisions = decisions_of(f"{file}:Late", {"KO": [100.0 + number for number in range(20)]})
    assert decisions, "the view of the tenth minute"


def test_every_field_is_registered() -> None:
    assert {*BAR_FIELDS, *SESSION_FIELDS} <= set(INDICATORS)
