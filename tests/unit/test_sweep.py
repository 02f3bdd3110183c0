"""Each trial of a sweep is its single backtest, is in the ledger once, and does not run again after an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dataflows.research import SweepResult, backtest, load_bars, sweep
from dataflows.research.sweeps import trial_pass
from dataflows.research.trial_ledger import TrialLedger
from deploy.commands import sweep as command
from deploy.home import REPOSITORY, Home
from schemas.errors import BadInput
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE
from tests.sweep_strategies import AboveAverages, FailingFromLevel, HoldAfterDrop

GRID: dict[str, list[Any]] = {"fast": [5, 10], "slow": [20, 30]}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B", "C"), minutes=8 * 60)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


def ledger_rows(home: Home) -> list[dict[str, Any]]:
    return [dict(one.trial.parameters) for one in TrialLedger(home.trial_ledger).trials()]


def run_sweep(files: Path, strategy: object = "ema_cross", **arguments: Any) -> SweepResult:
    defaults = {"grid": GRID, "objective": "total_return", "settings": SETTINGS_FILE, "processes": 1}
    return sweep(strategy, files, **{**defaults, **arguments})


@pytest.mark.parametrize(
    ("strategy", "grid", "inputs"),
    [
        ("ema_cross", {**GRID, "rsi_max": [60, 70.0]}, {}),
        ("ema_cross", GRID, {"start": "2024-03-11", "symbols": ["A", "B"]}),
        (AboveAverages, {"period": [3, 5, 9]}, {"start": "2024-03-08T15:00"}),
        (HoldAfterDrop, {"bars": [5, 20], "hold": [10, 30]}, {"end": "2024-03-11"}),
        (f"{REPOSITORY}/tests/sweep_strategies.py:HoldAfterDrop", {"hold": [10, 30]}, {}),
    ],
)
def test_each_trial_equals_its_single_backtest(
    files: Path, strategy: object, grid: dict[str, list[Any]], inputs: dict[str, Any]
) -> None:
    result = run_sweep(files, strategy, grid=grid, **inputs)
    assert len(set(result.trials["decision_hash"])) > 1
    for column, row in result.trials.iterrows():
        parameters = {name: row[name] for name in grid}
        single = backtest(strategy, files, settings=SETTINGS_FILE, parameters=_plain(parameters), **inputs)
        assert row["decision_hash"] == single.decision_hash
        assert row["fills"] == single.summary["fills"] > 0
        for name in ("total_return", "max_drawdown", "turnover", "expectancy"):
            assert row[name] == single.metrics[name]
        assert result.returns[column].tolist() == single.returns.tolist()


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value.item() if hasattr(value, "item") else value for name, value in parameters.items()}


def test_trials_of_several_processes_equal_those_of_one(files: Path, home: Home, monkeypatch: Any) -> None:
    several = run_sweep(files, HoldAfterDrop, grid={"bars": [5, 9, 20]}, processes=2)
    assert TrialLedger(home.trial_ledger).verify() == 3
    monkeypatch.setenv("PLATFORM_HOME", str(home.root / "other"))
    one = run_sweep(files, HoldAfterDrop, grid={"bars": [5, 9, 20]})
    pd.testing.assert_frame_equal(one.trials, several.trials)


def test_a_class_of_a_program_runs_in_several_processes(files: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from dataflows.research import sweep\n"
        "from tests.sweep_strategies import HoldAfterDrop\n"
        "class Own(HoldAfterDrop):\n    pass\n"
        "if __name__ == '__main__':\n"
        f"    result = sweep(Own, {str(files)!r}, grid={{'bars': [5, 9]}}, objective='total_return', processes=2)\n"
        "    print(len(set(result.trials['decision_hash'])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("2\n", "")


def test_a_sweep_that_is_repeated_runs_only_new_trials(
    files: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_sweep(files)
    assert len(ledger_rows(home)) == 4
    monkeypatch.setattr(trial_pass, "_run_pass", lambda *_: pytest.fail("a trial ran again"))
    monkeypatch.setattr(trial_pass, "_run_single", lambda *_: pytest.fail("a trial ran again"))
    again = run_sweep(files)
    pd.testing.assert_frame_equal(again.trials, first.trials)
    frame = run_sweep(files, objective="total_return - max_drawdown")
    assert frame.name == first.name
    assert len(ledger_rows(home)) == 4


def test_another_cause_of_a_result_runs_again(files: Path, home: Home) -> None:
    one = {"grid": {"fast": [5]}}
    run_sweep(files, **one)
    run_sweep(files, **one, settings={"portfolio_manager.initial_capital": 50_000})
    run_sweep(files, **one, end="2024-03-11")
    run_sweep(files, **one, symbols=["A"])
    run_sweep(files, **one, parameters={"slow": 40})
    assert len(ledger_rows(home)) == 5


def test_a_changed_class_of_a_program_runs_again(files: Path, home: Home) -> None:
    for weight in (0.01, 0.02):
        namespace = {"TradingStrategy": HoldAfterDrop.__mro__[1], "__name__": "cell", "WEIGHT": weight}
        code = (
            "def size():\n    return WEIGHT\n"
            "class Cell(TradingStrategy):\n"
            "    def __init__(self, *, first=3):\n        self.first = first\n"
            "    def on_slice(self, ctx):\n"
            "        ctx.state['n'] = ctx.state.get('n', 0) + 1\n"
            "        if ctx.state['n'] == self.first:\n            ctx.target_weight('A', size())\n"
        )
        exec(compile(code, "cell", "exec"), namespace)  # noqa: S102 - a cell of a notebook
        run_sweep(files, namespace["Cell"], grid={"first": [3, 9]})
    assert len(ledger_rows(home)) == 4


def test_a_strategy_that_fails_gives_its_trial_no_objective(files: Path) -> None:
    result = run_sweep(files, FailingFromLevel, grid={"level": [1, 2]})
    assert result.best == {"level": 1}
    assert result.trials["error"].tolist() == ["", "suspended: ValueError: level 2"]
    assert result.trials["objective"].isna().tolist() == [False, True]


def test_a_frame_gives_the_trials_of_its_files(files: Path) -> None:
    of_files = run_sweep(files)
    of_frame = sweep("ema_cross", load_bars(files), grid=GRID, objective="total_return", settings=SETTINGS_FILE)
    pd.testing.assert_frame_equal(of_frame.trials, of_files.trials)


def test_random_and_optuna_repeat_their_choices_with_a_seed(files: Path, home: Home) -> None:
    grid = {"fast": range(3, 12), "slow": range(12, 60, 3)}
    drawn = run_sweep(files, grid=grid, random=3, seed=1)
    assert len(drawn.trials) == 3
    chosen = run_sweep(files, grid=grid, optuna=10, seed=1)
    count = len(ledger_rows(home))
    assert len(chosen.trials) <= 10
    again = run_sweep(files, grid=grid, optuna=10, seed=1)
    pd.testing.assert_frame_equal(again.trials, chosen.trials)
    assert len(ledger_rows(home)) == count


def command_arguments(files: Path, *more: str) -> list[str]:
    grid = ["--grid", "fast=4:9:1", "--grid", "slow=20,30"]
    options = ["--settings", str(SETTINGS_FILE), "--objective", "total_return", "--json", "-"]
    return ["sweep", "--strategy", "ema_cross", "--bars", str(files), *grid, *options, *more]


def test_a_killed_sweep_continues_without_a_lost_or_repeated_trial(files: Path, home: Home, tmp_path: Path) -> None:
    """Kill the command after its first group of trials, and interrupt it after the next one; then let it end."""
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys\n"
        "from dataflows.research.sweeps import trial_workers\n"
        "trial_workers.PASS_TRIALS_MAX = 2\n"
        "sys.argv[0] = 'cli.py'\n"
        "if __name__ == '__main__':\n"
        "    from deploy.cli import main\n"
        "    sys.exit(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    counts = []
    for number in (signal.SIGKILL, signal.SIGINT, None):
        before = len(ledger_rows(home))
        arguments = [sys.executable, str(script), *command_arguments(files, "--processes", "2")]
        process = subprocess.Popen(
            arguments,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if number is not None:
            while process.poll() is None and len(ledger_rows(home)) == before:
                pass
            os.kill(process.pid, number)
        output, errors = process.communicate()
        counts.append(len(ledger_rows(home)))
        if number is signal.SIGINT:
            assert (process.returncode, "run the same command to continue" in errors) == (130, True), errors
    assert 2 <= counts[0] < counts[1] < counts[2] == 12
    assert process.returncode == 0, errors
    rows = ledger_rows(home)
    assert len({json.dumps(row) for row in rows}) == 12
    assert TrialLedger(home.trial_ledger).verify() == 12
    tree = json.loads(output)
    assert {(one["fast"], one["slow"]) for one in tree["trials"]} == {(row["fast"], row["slow"]) for row in rows}
    assert tree["overfitting"]["trials"] == tree["overfitting"]["trials_in_ledger"] == 12


def test_the_command_prints_the_best_trials(files: Path) -> None:
    app = typer.Typer()
    command.register(app)
    arguments = ["--strategy", "ema_cross", "--bars", str(files), "--grid", "fast=5,10", "--objective", "total_return"]
    run = CliRunner().invoke(app, [*arguments, "--processes", "1", "--limit", "1"], catch_exceptions=False)
    assert "1 more trials; --limit prints them" in run.stdout
    assert "Best of 2 trials; the ledger has 2 of this strategy on this data." in run.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": {}}, "the grid is empty"),
        ({"grid": {"fast": []}}, "the grid of fast has no values"),
        ({"grid": {"fast": "5,10"}}, "the grid of fast must be a list of values"),
        ({"grid": {"fast": [None]}}, "the grid of fast must have numbers, texts, True or False, found None"),
        ({"grid": {"fats": [5, 10]}}, "has no parameter fats; did you mean fast"),
        ({"grid": {"fast": [5, 40], "slow": [30]}}, "rejects 1 of 2 parameter sets, the first with fast=40, slow=30"),
        ({"constraints": "fast > slow"}, "the constraints exclude all 4 parameter sets of the grid"),
        ({"constraints": "fast < slwo"}, "unknown name 'slwo'; did you mean slow"),
        ({"constraints": "fast <"}, "is not a formula such as 'fast < slow'"),
        ({"constraints": "fast.real < 3"}, "contains 'fast.real'"),
        ({"constraints": "__import__('os')"}, "use numbers, names"),
        ({"objective": "sharp"}, "unknown name 'sharp'; did you mean sharpe"),
        ({"objective": "sharpe"}, "no trial has a value of the objective 'sharpe' over 2 days"),
        ({"random": 1, "optuna": 1}, "pass random or optuna, not both"),
        ({"random": 0}, "random must be at least 1, found 0"),
        ({"stop_after": 0}, "stop_after must be at least 1, found 0"),
        ({"prune": True}, "prune needs optuna"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"strategy": HoldAfterDrop()}, "pass HoldAfterDrop itself"),
        ({"strategy": None}, "a search needs a strategy"),
        ({"name": "  "}, "the name of a search"),
    ],
)
def test_invalid_input_is_one_sentence(arguments: dict[str, Any], message: str, files: Path) -> None:
    with pytest.raises(BadInput) as error:
        run_sweep(files, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_belongs_to_one_search(files: Path) -> None:
    run_sweep(files, name="first")
    with pytest.raises(BadInput, match="a search named 'first' exists with another grid; choose another name"):
        run_sweep(files, name="first", grid={"fast": [5, 11]})
    with pytest.raises(BadInput, match="exists with another data"):
        run_sweep(files, name="first", end="2024-03-11")
