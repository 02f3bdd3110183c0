"""Each symbol is swept on its own, and a view strategy trades each symbol with its own parameters."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from configs.settings import load_settings
from configs.strategies import configured_strategies
from dataflows.research import SymbolSweepResult, backtest, sweep, sweep_symbols
from dataflows.research.trial_ledger import TrialLedger
from deploy.commands import sweep as command
from schemas.errors import BadInput
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE
from tests.sweep_strategies import HoldAfterDrop

GRID: dict[str, list[Any]] = {"fast": [4, 9], "slow": [12, 30]}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B"), minutes=240)
    return folder


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialLedger:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    return TrialLedger(tmp_path / "home" / "trials.sqlite")


def run_sweep(files: Path, strategy: object = "ema_cross", **arguments: Any) -> SymbolSweepResult:
    defaults = {"grid": GRID, "objective": "total_return", "settings": SETTINGS_FILE, "processes": 1}
    return sweep_symbols(strategy, files, **{**defaults, **arguments})


def test_each_symbol_decides_with_its_own_parameters(files: Path) -> None:
    """The signals of a symbol are those of a run in which all symbols have its parameters."""
    sets = {"A": {"fast": 4, "slow": 12}, "B": {"fast": 9, "slow": 30}}
    settings = load_settings(SETTINGS_FILE).with_strategies(["ema_cross"], {}, sets)
    together = backtest(None, files, settings=settings).signals
    for symbol, parameters in sets.items():
        alone = backtest("ema_cross", files, settings=SETTINGS_FILE, parameters=parameters).signals
        columns = ["time", "direction", "strength", "confidence", "price"]
        expected = alone[alone["symbol"] == symbol][columns].reset_index(drop=True)
        found = together[together["symbol"] == symbol][columns].reset_index(drop=True)
        assert len(found) > 0
        assert found.equals(expected)


def test_a_symbol_without_own_parameters_has_the_common_ones(files: Path) -> None:
    common = {"fast": 9, "slow": 30}
    settings = load_settings(SETTINGS_FILE).with_strategies(["ema_cross"], common, {"C": {"fast": 4}})
    alone = backtest("ema_cross", files, settings=SETTINGS_FILE, parameters=common)
    together = backtest(None, files, settings=settings)
    assert together.signals["direction"].tolist() == alone.signals["direction"].tolist()
    assert together.summary["final_equity"] == alone.summary["final_equity"]


def test_the_strategy_of_a_user_file_keeps_its_file(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "class Own:\n    name = 'own'\n"
        "    def __init__(self, *, period=3):\n        self.features = (f'sma_{period}',)\n"
        "    def decide(self, row, state):\n        return state, None\n"
    )
    settings = load_settings().with_strategies([f"{file}:Own"], {}, {"A": {"period": 5}})
    found = configured_strategies(settings)
    assert found.views[0].features == ("sma_3", "sma_5")
    assert found.source_sha256 == configured_strategies(load_settings().with_strategies([f"{file}:Own"])).source_sha256


def test_a_strategy_with_slots_has_parameters_by_symbol(tmp_path: Path) -> None:
    file = tmp_path / "slots.py"
    file.write_text(
        "class Slots:\n    __slots__ = ('name', 'features', 'side')\n"
        "    def __init__(self, *, side=1):\n        self.name, self.features, self.side = 'slots', (), side\n"
        "    def decide(self, row, state):\n        return state, self.side\n"
    )
    settings = load_settings().with_strategies([f"{file}:Slots"], {}, {"A": {"side": -1}})
    (strategy,) = configured_strategies(settings).views
    decide: Any = strategy.decide
    decisions = [decide(SimpleNamespace(symbol=symbol), None)[1] for symbol in ("A", "B")]
    assert decisions == [-1, 1]
    with pytest.raises(BadInput, match="decide changes self"):
        strategy.__setattr__("side", 0)


def test_a_sweep_by_symbol_runs_each_symbol_and_then_all_with_their_best_sets(files: Path, ledger: TrialLedger) -> None:
    result = run_sweep(files)
    assert list(result.sweeps) == ["A", "B"]
    single = sweep("ema_cross", files, grid=GRID, objective="total_return", settings=SETTINGS_FILE, symbols=["B"])
    assert result.best["B"] == single.best
    assert result.sweeps["B"].trials["decision_hash"].tolist() == single.trials["decision_hash"].tolist()
    assert result.trials == len(ledger.trials()) == 9
    settings = load_settings(SETTINGS_FILE).with_strategies(["ema_cross"], {}, result.best)
    assert backtest(None, files, settings=settings).decision_hash == result.result.decision_hash
    again = run_sweep(files)
    assert (again.best, again.name) == (result.best, result.name)
    assert ledger.verify() == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbols": ["A"]}, "need bars of at least two symbols, found A; run a plain sweep"),
        ({"strategy": HoldAfterDrop, "grid": {"bars": [3, 5]}}, "is a trading strategy, which decides for all symbols"),
        ({"grid": {}}, "the grid is empty"),
        ({"grid": {"fats": [5]}}, "has no parameter fats; did you mean fast"),
        ({"objective": "sharpe"}, "A: no trial has a value of the objective"),
    ],
)
def test_invalid_input_of_a_sweep_by_symbol_is_one_sentence(
    arguments: dict[str, Any], message: str, files: Path
) -> None:
    with pytest.raises(BadInput) as error:
        run_sweep(files, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_sweeps_each_symbol(files: Path) -> None:
    app = typer.Typer()
    command.register(app)
    grid = ["--grid", "fast=4,9", "--settings", str(SETTINGS_FILE), "--objective", "total_return"]
    arguments = ["--strategy", "ema_cross", "--bars", str(files), *grid, "--processes", "1", "--per-symbol"]
    run = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "Chosen from 4 trials of 2 symbols; the ledger counts all of them." in run.stdout
    with pytest.raises(BadInput, match="remove --prune"):
        CliRunner().invoke(app, [*arguments, "--prune"], catch_exceptions=False)
