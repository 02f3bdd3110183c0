"""Train, register, serve: a real model, small."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.model_registry import Registry, serving_model
from configs.settings import Settings, load_settings
from dataflows.research import training
from dataflows.runtime import stages
from operators.features import FeatureStage
from operators.predictions.folds import walk_forward
from operators.predictions.inputs import input_names
from operators.stage import Tick
from schemas.errors import BadInput
from schemas.records import REGULAR, Bar, FeatureRow, Prediction
from tests.replay.runs import SETTINGS_FILE
from tests.replay.staged import Staged

MINUTE = 60_000_000_000
SPECS = ("ema_5", "rsi_5", "roc_3")
HORIZON = 3


def market(symbols: tuple[str, ...], bars: int, seed: int) -> list[Tick]:
    """Prices that swing: a forecast of the next bars can be right."""
    rng = random.Random(seed)
    ticks = []
    for seq in range(1, bars + 1):
        records: list[Any] = []
        for number, symbol in enumerate(symbols):
            close = round(100 * math.exp(0.02 * math.sin(seq / 6 + number) + rng.gauss(0, 0.001)), 2)
            ts_ns = seq * MINUTE
            records.append(
                Bar(symbol, seq, ts_ns, ts_ns - MINUTE, close, close, close, close, 9.0, REGULAR, 20240102, True)
            )
        ticks.append(Tick(seq * MINUTE, records))
    return ticks


def rows_of(ticks: list[Tick]) -> list[Any]:
    stage = FeatureStage(SPECS)
    return [row for tick in ticks for row in stage.on_tick(tick.ts_ns, tick.records)]


@pytest.fixture(scope="module")
def trained() -> training.Trained:
    return training.train(rows_of(market(("A", "B"), 500, 1)), SPECS, horizon_bars=HORIZON, folds=2, trees=15)


@pytest.fixture
def registry(tmp_path: Path, trained: training.Trained) -> Registry:
    registry = Registry(tmp_path / "models")
    registry.register(trained.frozen, trained.card)
    return registry


def test_it_beats_the_naive_forecast_where_there_is_something_to_learn(trained: training.Trained) -> None:
    metrics = trained.card["metrics"]
    assert metrics["hit_rate"] > metrics["hit_rate_naive"] + 0.2 and metrics["ic"] > 0.5
    assert metrics["brier"] < metrics["brier_naive"] - 0.05 and metrics["slope"] > 0.5


def test_it_learns_nothing_from_noise() -> None:
    rng = random.Random(3)
    rows = [
        FeatureRow("A", seq, seq * MINUTE, seq, 100 + rng.random(), {"rsi_5": rng.random() * 100})
        for seq in range(1, 900)
    ]
    # Returns of noise around a level can be forecast from the close alone, which is no input here.
    metrics = training.train(rows, ("rsi_5",), horizon_bars=1, folds=3).card["metrics"]
    assert metrics["slope"] < 0.5 and abs(metrics["ic"]) < 0.15
    assert metrics["brier"] > metrics["brier_naive"] - 0.005


def test_the_same_rows_give_the_same_file_in_another_process(trained: training.Trained) -> None:
    code = (
        "import hashlib; from tests.unit.test_model_training import *; "
        "t = training.train(rows_of(market(('A', 'B'), 500, 1)), SPECS, horizon_bars=HORIZON, folds=2, trees=15); "
        "print(hashlib.sha256(t.frozen).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    import hashlib

    assert done.stdout.strip() == hashlib.sha256(trained.frozen).hexdigest(), done.stderr[-1000:]


def test_no_training_label_reaches_into_the_test() -> None:
    begins = [time for time in range(100) for _ in range(3)]
    ends = [begin + 7 for begin in begins]
    tested: list[int] = []
    for train, test in walk_forward(begins, ends, folds=4, embargo=5):
        first = min(begins[place] for place in test)
        assert max(ends[place] for place in train) < first - 5 + 1
        assert max(begins[place] for place in train) < first
        tested += test
    assert tested == sorted(set(tested)) and begins[tested[0]] == 20 and tested[-1] == len(begins) - 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [(60, "at least 500 rows"), (0, "found 0")],
)
def test_too_little_to_learn_from_is_refused(rows: int, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        training.train(rows_of(market(("A",), rows, 1)), SPECS, horizon_bars=HORIZON)


def test_what_grows_with_the_history_is_no_input() -> None:
    with pytest.raises(BadInput, match="a model cannot learn from obv"):
        input_names(["rsi_5", "obv"])


# -- the registry ------------------------------------------------------------------------------------------------------


def test_a_model_serves_once_it_is_activated_and_never_again_once_retired(registry: Registry) -> None:
    (card,) = registry.cards()
    assert serving_model(registry.folder, None) is None
    registry.activate(card.sha256[:6])
    assert registry.active() == card and registry.status(card.sha256) == "active"
    assert serving_model(registry.folder, None) is not None and serving_model(registry.folder, "none") is None
    registry.retire(card.sha256[:6])
    assert registry.active() is None and registry.status(card.sha256) == "retired"
    for refused in (lambda: registry.activate(card.sha256), lambda: serving_model(registry.folder, card.sha256)):
        with pytest.raises(BadInput, match="is retired"):
            refused()


def test_a_changed_file_is_refused(registry: Registry) -> None:
    (card,) = registry.cards()
    file = registry.folder / card.sha256[:16] / "model.skops"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(BadInput, match=f"its sha256 must be {card.sha256}, found "):
        registry.load(card)


def test_a_file_with_foreign_types_is_refused(tmp_path: Path) -> None:
    import hashlib
    from collections import OrderedDict

    import skops.io

    content = skops.io.dumps({"regressor": OrderedDict(a=1), "path": tmp_path})
    file = tmp_path / "model.skops"
    file.write_bytes(content)
    from configs.model_file import load

    with pytest.raises(BadInput, match="holds types that a model has not"):
        load(file, hashlib.sha256(content).hexdigest())


def test_a_card_that_says_something_else_is_refused(registry: Registry) -> None:
    (card,) = registry.cards()
    file = registry.folder / card.sha256[:16] / "card.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "horizon_bars": 99}))
    with pytest.raises(BadInput, match="its card must say what is in the file"):
        registry.load(registry.cards()[0])


def test_an_unknown_model_is_refused_with_those_there_are(registry: Registry) -> None:
    with pytest.raises(BadInput, match=rf"model 'ffff' must name one of {registry.cards()[0].sha256[:12]}, found 0"):
        registry.card("ffff")


# -- served ------------------------------------------------------------------------------------------------------------


def serving(registry: Registry) -> Settings:
    (card,) = registry.cards()
    registry.activate(card.sha256)
    told = {
        "PREDICTIONS__REGISTRY": str(registry.folder),
        "SIGNALS__STRATEGIES": '[{"name": "model", "parameters": {"cost_bps": 5}}, {"name": "ema_cross"}]',
        "SIGNALS__ENSEMBLE__ENABLED": "true",
        "SIGNALS__ENSEMBLE__WEIGHTS": "learned",
    }
    return load_settings(SETTINGS_FILE, environment=told)


def test_forecasts_do_not_depend_on_the_rows_beside_them(registry: Registry) -> None:
    model = registry.load(registry.cards()[0])
    rng = random.Random(5)
    rows = [[rng.gauss(0, 0.02), rng.random() * 100, rng.gauss(0, 1)] for _ in range(40)]
    assert model.forecast(rows) == [model.forecast([row])[0] for row in rows]


def test_staged_services_that_die_predict_and_trade_as_the_fused_run(registry: Registry) -> None:
    settings = serving(registry)
    ticks = market(("A", "B", "C"), 40, 2)
    runs = []
    for seed, crashes in ((1, 0.0), (2, 0.01)):
        run = Staged(settings, ticks, partitions=2, seed=seed, crashes=crashes)
        runs.append(run.run().contents())
    assert runs[0] == runs[1] and run.deaths > 10
    analysis, deciding = stages.analysis(settings)(), stages.deciding(settings)()
    fused: dict[str, list[str]] = {"predictions": [], "signals": [], "executions": []}
    for tick in ticks:
        analysed = analysis.on_tick(tick.ts_ns, tick.records)
        for record in [*analysed, *deciding.on_tick(tick.ts_ns, analysed)]:
            for topic, kinds in (("predictions", "Prediction"), ("signals", "Signal"), ("executions", "Execution")):
                if type(record).__name__ == kinds:
                    fused[topic].append(repr(record))
    assert len(fused["predictions"]) > 90 and len(fused["executions"]) > 5
    for topic, records in fused.items():
        assert sorted(records) == sorted(one for one in runs[0][topic] if "GatewayStatus" not in one), topic


def test_a_restart_in_the_middle_changes_no_prediction_and_drift_is_seen(registry: Registry) -> None:
    settings = serving(registry)
    make = stages.predictions(settings)
    ticks = market(("A",), 330, 4)
    quiet = rows_of(ticks)
    wild = [row._replace(values={**row.values, "rsi_5": 99.0, "roc_3": 50.0}) for row in quiet]

    def predicted(rows: list[Any], cut: int) -> list[Any]:
        stage, out = make(), []
        for place, row in enumerate(rows):
            if place == cut:
                state, stage = stage.snapshot(), make()
                stage.restore(state)
            out += stage.on_tick(row.ts_ns, [row])
        return out

    whole = predicted(quiet, -1)
    assert predicted(quiet, 200) == whole and predicted(quiet, 301) == whole
    assert all(isinstance(one, Prediction) for one in whole)
    assert whole[-1].drift < 0.5 < predicted(wild, -1)[-1].drift
