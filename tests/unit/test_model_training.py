"""Train, register and serve a small real model."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.model_registry import ModelRegistry, serving_model
from configs.settings import Settings, load_settings
from dataflows.research import training
from dataflows.research.in_sample import first_slice_check
from dataflows.runtime import stages
from operators.features import FeatureStage
from operators.predictions.folds import walk_forward
from operators.predictions.inputs import input_names
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import Prediction
from tests.builders import bar, feature_row
from tests.replay.in_memory_platform import InMemoryPlatform
from tests.replay.runs import SETTINGS_FILE

MINUTE_NS = 60_000_000_000
SPECS = ("ema_5", "rsi_5", "roc_3")
HORIZON = 3


def market(symbols: tuple[str, ...], bars: int, seed: int) -> list[TimeSlice]:
    """Return time slices with oscillating prices, so that a model can forecast the next bars."""
    rng = random.Random(seed)
    time_slices = []
    for seq in range(1, bars + 1):
        records: list[Any] = []
        for number, symbol in enumerate(symbols):
            close = round(100 * math.exp(0.02 * math.sin(seq / 6 + number) + rng.gauss(0, 0.001)), 2)
            records.append(bar(symbol, seq, seq * MINUTE_NS, close, volume=9.0))
        time_slices.append(TimeSlice(seq * MINUTE_NS, records))
    return time_slices


def rows_of(time_slices: list[TimeSlice]) -> list[Any]:
    stage = FeatureStage(SPECS)
    return [row for time_slice in time_slices for row in stage.on_slice(time_slice.ts_ns, time_slice.records)]


@pytest.fixture(scope="module")
def training_result() -> training.TrainingResult:
    return training.train(rows_of(market(("A", "B"), 500, 1)), SPECS, horizon_bars=HORIZON, folds=2, trees=15)


@pytest.fixture
def registry(tmp_path: Path, training_result: training.TrainingResult) -> ModelRegistry:
    registry = ModelRegistry(tmp_path / "models")
    registry.register(training_result.model_bytes, training_result.card)
    return registry


def test_model_beats_the_naive_forecast_where_there_is_something_to_learn(
    training_result: training.TrainingResult,
) -> None:
    metrics = training_result.card["metrics"]
    assert metrics["hit_rate"] > metrics["hit_rate_naive"] + 0.2 and metrics["ic"] > 0.5
    assert metrics["brier"] < metrics["brier_naive"] - 0.05 and metrics["slope"] > 0.5


def test_model_learns_nothing_from_noise() -> None:
    rng = random.Random(3)
    rows = [
        feature_row("A", seq, seq * MINUTE_NS, 100 + rng.random(), values={"rsi_5": rng.random() * 100})
        for seq in range(1, 900)
    ]
    # The close alone predicts the returns of noise around a level, but the close is not an input here.
    metrics = training.train(rows, ("rsi_5",), horizon_bars=1, folds=3).card["metrics"]
    assert metrics["slope"] < 0.5 and abs(metrics["ic"]) < 0.15
    assert metrics["brier"] > metrics["brier_naive"] - 0.005


def test_the_same_rows_give_the_same_file_in_another_process(training_result: training.TrainingResult) -> None:
    code = (
        "import hashlib; from tests.unit.test_model_training import *; "
        "t = training.train(rows_of(market(('A', 'B'), 500, 1)), SPECS, horizon_bars=HORIZON, folds=2, trees=15); "
        "print(hashlib.sha256(t.model_bytes).hexdigest())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    import hashlib

    assert result.stdout.strip() == hashlib.sha256(training_result.model_bytes).hexdigest(), result.stderr[-1000:]


def test_training_labels_do_not_overlap_the_test_fold() -> None:
    begins = [time for time in range(100) for _ in range(3)]
    ends = [begin + 7 for begin in begins]
    tested: list[int] = []
    for train, test in walk_forward(begins, ends, folds=4, embargo=5):
        first = min(begins[index] for index in test)
        assert max(ends[index] for index in train) < first - 5 + 1
        assert max(begins[index] for index in train) < first
        tested += test
    assert tested == sorted(set(tested)) and begins[tested[0]] == 20 and tested[-1] == len(begins) - 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [(60, "at least 500 rows"), (0, "found 0")],
)
def test_too_few_rows_are_rejected(rows: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        training.train(rows_of(market(("A",), rows, 1)), SPECS, horizon_bars=HORIZON)


def test_cumulative_indicators_are_rejected_as_inputs() -> None:
    with pytest.raises(BadInput, match="model inputs must not contain obv"):
        input_names(["rsi_5", "obv"])


# -- the registry ------------------------------------------------------------------------------------------------------


def test_a_model_serves_after_its_activation_and_never_again_after_its_retirement(registry: ModelRegistry) -> None:
    (card,) = registry.cards()
    assert serving_model(registry.folder, None) is None
    registry.activate(card.sha256[:6])
    assert registry.active() == card and registry.status(card.sha256) == "active"
    assert serving_model(registry.folder, None) is not None and serving_model(registry.folder, "none") is None
    registry.retire(card.sha256[:6])
    assert registry.active() is None and registry.status(card.sha256) == "retired"
    for attempt in (lambda: registry.activate(card.sha256), lambda: serving_model(registry.folder, card.sha256)):
        with pytest.raises(BadInput, match="is retired"):
            attempt()


def test_a_model_that_is_worse_than_the_naive_forecast_is_activated_only_by_force(
    registry: ModelRegistry, training_result: training.TrainingResult
) -> None:
    card = training_result.card
    worse = registry.register(
        training_result.model_bytes + b"x", card | {"metrics": card["metrics"] | {"brier": 0.26, "brier_naive": 0.25}}
    )
    with pytest.raises(BadInput, match=r"its Brier score out of sample is 0\.260000, .* 0\.250000; pass --force"):
        registry.activate(worse.sha256)
    assert registry.active() is None
    assert registry.activate(worse.sha256, force=True) == registry.active() == worse


def test_a_backtest_on_the_training_data_is_refused_unless_it_is_allowed(registry: ModelRegistry) -> None:
    run_settings, (card,) = serving(registry), registry.cards()
    check = first_slice_check(run_settings)
    assert check is not None
    slices = market(("A",), 600, 1)
    before, after = (
        next(one for one in slices if (one.records[0].open_ns >= card.trained_until_ns) is is_after)  # type: ignore[union-attr]  # bars only
        for is_after in (False, True)
    )
    check(after)
    with pytest.raises(BadInput, match=f"model {card.sha256[:12]} was trained on bars until .* pass --allow-in-sample"):
        check(before)
    assert first_slice_check(run_settings.allowing_in_sample()) is None
    assert first_slice_check(run_settings.with_strategies(["ema_cross"])) is None, "no strategy reads the forecasts"


def test_changed_file_is_rejected(registry: ModelRegistry) -> None:
    (card,) = registry.cards()
    file = registry.folder / card.sha256[:16] / "model.skops"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(BadInput, match=f"expected sha256 {card.sha256}, found "):
        registry.load(card)


def test_file_with_foreign_types_is_rejected(tmp_path: Path) -> None:
    import hashlib
    from collections import OrderedDict

    import skops.io

    content = skops.io.dumps({"regressor": OrderedDict(a=1), "path": tmp_path})
    file = tmp_path / "model.skops"
    file.write_bytes(content)
    from configs.model_file import load_model

    with pytest.raises(BadInput, match="found untrusted types"):
        load_model(file, hashlib.sha256(content).hexdigest())


def test_card_that_contradicts_its_file_is_rejected(registry: ModelRegistry) -> None:
    (card,) = registry.cards()
    file = registry.folder / card.sha256[:16] / "card.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "horizon_bars": 99}))
    with pytest.raises(BadInput, match="the card must match the file"):
        registry.load(registry.cards()[0])


def test_unknown_model_is_rejected_with_the_list_of_models(registry: ModelRegistry) -> None:
    with pytest.raises(BadInput, match=rf"unknown model 'ffff'. Registered models: {registry.cards()[0].sha256[:12]}"):
        registry.card("ffff")


# -- serving -----------------------------------------------------------------------------------------------------------


def serving(registry: ModelRegistry) -> Settings:
    (card,) = registry.cards()
    registry.activate(card.sha256)
    environment = {
        "PREDICTIONS__REGISTRY": str(registry.folder),
        "SIGNALS__STRATEGIES": '[{"name": "model", "parameters": {"cost_bps": 5}}, {"name": "ema_cross"}]',
        "SIGNALS__ENSEMBLE__ENABLED": "true",
        "SIGNALS__ENSEMBLE__WEIGHTS": "learned",
    }
    return load_settings(SETTINGS_FILE, environment=environment)


def test_forecasts_do_not_depend_on_the_rows_beside_them(registry: ModelRegistry) -> None:
    model = registry.load(registry.cards()[0])
    rng = random.Random(5)
    rows = [[rng.gauss(0, 0.02), rng.random() * 100, rng.gauss(0, 1)] for _ in range(40)]
    assert model.forecast(rows) == [model.forecast([row])[0] for row in rows]


def test_crashing_staged_services_match_the_fused_run(registry: ModelRegistry) -> None:
    settings = serving(registry)
    time_slices = market(("A", "B", "C"), 40, 2)
    runs = []
    for seed, crashes in ((1, 0.0), (2, 0.01)):
        run = InMemoryPlatform(settings, time_slices, partitions=2, seed=seed, crash_rate=crashes)
        runs.append(run.run().contents())
    assert runs[0] == runs[1] and run.crash_count > 10
    analysis, deciding = stages.analysis(settings)(), stages.decision_loop(settings)()
    fused: dict[str, list[str]] = {"predictions": [], "signals": [], "executions": []}
    for time_slice in time_slices:
        analysed = analysis.on_slice(time_slice.ts_ns, time_slice.records)
        for record in [*analysed, *deciding.on_slice(time_slice.ts_ns, analysed)]:
            for topic, kinds in (("predictions", "Prediction"), ("signals", "Signal"), ("executions", "Execution")):
                if type(record).__name__ == kinds:
                    fused[topic].append(repr(record))
    assert len(fused["predictions"]) > 90 and len(fused["executions"]) > 5
    for topic, records in fused.items():
        assert sorted(records) == sorted(one for one in runs[0][topic] if "GatewayStatus" not in one), topic


def test_restart_changes_no_prediction_and_drift_is_measured(registry: ModelRegistry) -> None:
    settings = serving(registry)
    make = stages.predictions(settings)
    time_slices = market(("A",), 330, 4)
    normal_rows = rows_of(time_slices)
    drifted_rows = [row._replace(values={**row.values, "rsi_5": 99.0, "roc_3": 50.0}) for row in normal_rows]

    def predict_rows(rows: list[Any], cut: int) -> list[Any]:
        stage, predictions = make(), []
        for index, row in enumerate(rows):
            if index == cut:
                state, stage = stage.snapshot(), make()
                stage.restore(state)
            predictions += stage.on_slice(row.ts_ns, [row])
        return predictions

    uninterrupted = predict_rows(normal_rows, -1)
    assert predict_rows(normal_rows, 200) == uninterrupted and predict_rows(normal_rows, 301) == uninterrupted
    assert all(isinstance(one, Prediction) for one in uninterrupted)
    assert uninterrupted[-1].drift < 0.5 < predict_rows(drifted_rows, -1)[-1].drift
