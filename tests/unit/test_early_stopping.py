"""A sweep stops without a better set, and ends poor trials early. Both repeat with a seed and after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from dataflows.research import SweepResult, backtest, sweep
from dataflows.research.sweeps import batched_search, trial_search
from dataflows.research.sweeps.optuna_sampler import OptunaSampler
from dataflows.research.sweeps.trial_pass import TrialOutcome
from dataflows.research.sweeps.trial_pruning import PRUNING_PERCENT, PruningRule, TrialPruner
from dataflows.research.trial_ledger import TrialLedger
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE

GRID: dict[str, Any] = {"fast": range(3, 9), "slow": range(12, 36, 3)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B"), minutes=120)
    return folder


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialLedger:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    return TrialLedger(tmp_path / "home" / "trials.sqlite")


def run_sweep(files: Path, **arguments: Any) -> SweepResult:
    defaults = {"grid": GRID, "objective": "total_return", "settings": SETTINGS_FILE, "processes": 1, "seed": 1}
    return sweep("ema_cross", files, **{**defaults, **arguments})


def test_a_grid_and_optuna_stop_without_a_better_set(files: Path) -> None:
    assert len(run_sweep(files, stop_after=3).trials) < 48
    assert len(run_sweep(files, optuna=500, stop_after=3).trials) < 48


def test_the_seed_decides_the_order_of_a_grid(files: Path) -> None:
    first = run_sweep(files, stop_after=3, seed=1)
    other = run_sweep(files, stop_after=3, seed=2)
    again = run_sweep(files, stop_after=3, seed=1)
    pd.testing.assert_frame_equal(first.trials, again.trials)
    assert first.name != other.name
    assert first.trials["decision_hash"].tolist() != other.trials["decision_hash"].tolist()


def test_a_poor_trial_is_pruned_counted_and_recorded(files: Path, ledger: TrialLedger) -> None:
    result = run_sweep(files, optuna=24, prune=True)
    pruned = result.trials[result.trials["error"].str.startswith("pruned at ")]
    assert 0 < len(pruned) == result.overfitting.pruned < len(result.trials)
    assert pruned["objective"].isna().all()
    assert f"Best of {len(result.trials)} trials, {len(pruned)} of them pruned" in str(result)
    recorded = [one.trial for one in ledger.trials()]
    assert len(recorded) == result.overfitting.trials == result.overfitting.trials_in_ledger
    interim = [
        one.objectives for one in recorded if set(one.objectives) <= {f"pruned_at_{p}_pct" for p in PRUNING_PERCENT}
    ]
    assert len(interim) == len(pruned)
    assert all(value is not None for one in interim for value in one.values())
    whole = result.trials[result.trials["error"] == ""].iloc[-1]
    parameters = {name: int(whole[name]) for name in GRID}
    assert (
        backtest("ema_cross", files, settings=SETTINGS_FILE, parameters=parameters).decision_hash
        == (whole["decision_hash"])
    )


def test_a_pruned_trial_runs_whole_in_a_sweep_without_pruning(files: Path, ledger: TrialLedger) -> None:
    pruned = run_sweep(files, optuna=24, prune=True)
    count = len(ledger.trials())
    whole = run_sweep(files, optuna=24)
    assert pruned.name != whole.name
    assert whole.overfitting.pruned == 0
    assert (whole.trials["error"] == "").all()
    assert len(ledger.trials()) >= count
    ledger.verify()


def test_pruning_does_not_depend_on_the_processes(
    files: Path, ledger: TrialLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = run_sweep(files, optuna=24, prune=True)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "other"))
    several = run_sweep(files, optuna=24, prune=True, processes=2)
    pd.testing.assert_frame_equal(one.trials, several.trials)


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_search_that_was_killed_prunes_the_same_trials(
    files: Path, ledger: TrialLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search ends after the trials of a batch are stored, and before they are in the ledger."""
    whole = run_sweep(files, optuna=24, prune=True)
    rows = {one.trial_id for one in ledger.trials()}
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "other"))
    counts = {"batches": 0}
    record = trial_search.TrialSearch._record

    def record_or_die(search: Any, ended: Any) -> None:
        counts["batches"] += bool(ended)
        if counts["batches"] > 2:
            raise Killed
        record(search, ended)

    with monkeypatch.context() as patch:
        patch.setattr(trial_search.TrialSearch, "_record", record_or_die)
        with pytest.raises(Killed):
            run_sweep(files, optuna=24, prune=True)
    again = run_sweep(files, optuna=24, prune=True)
    pd.testing.assert_frame_equal(again.trials, whole.trials)
    other = TrialLedger(tmp_path / "other" / "trials.sqlite")
    assert {one.trial_id for one in other.trials()} == rows
    assert other.verify() == len(rows)


def test_the_pruner_is_the_median_of_the_trials_that_ended() -> None:
    ended = tuple((value, None, 2 * value) for value in (1.0, 2.0, 3.0, 4.0, 5.0))
    pruner = TrialPruner(PruningRule("total_return", (1, 2, 3), ended))
    assert pruner.ends([2.9])
    assert not pruner.ends([3.0])
    assert not pruner.ends([None])
    assert not pruner.ends([2.9, 0.0]), "no trial has a value at the second time"
    assert not pruner.ends([1.0, None, 6.0])
    assert pruner.ends([1.0, None, 5.9])
    few = TrialPruner(PruningRule("total_return", (1, 2, 3), ended[:4]))
    assert not few.ends([0.0]), "the first trials are not pruned"
    outcome = TrialOutcome(decision_hash="", metrics={"total_return": 0.5}, returns={}, error="")
    assert pruner.value(outcome) == 0.5
    assert pruner.value(outcome._replace(error="suspended")) is None


def test_optuna_learns_from_pruned_trials(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samplers: list[Any] = []

    class Recorded(OptunaSampler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            samplers.append(self)

    monkeypatch.setattr(batched_search, "OptunaSampler", Recorded)
    result = run_sweep(files, optuna=24, prune=True)
    trials = samplers[0]._study.trials
    pruned = [one for one in trials if one.state == optuna.trial.TrialState.PRUNED]
    assert len(pruned) >= result.overfitting.pruned > 0
    assert all(one.intermediate_values for one in pruned)
