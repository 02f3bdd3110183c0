"""The Python API of research makes the decisions of the command line, from files and from frames."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dataflows.research import Result, backtest, load_bars
from deploy.commands import backtest as command
from deploy.home import REPOSITORY
from operators.strategies import Strategy, TargetView, TradingStrategy
from schemas.errors import BadInput
from schemas.records import FeatureRow
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE

ENTRIES = {"A": 3, "B": 5}


class BuyAndSell(TradingStrategy):
    """Buys at one bar of each symbol and sells at a later one."""

    symbols = ("A", "B")

    def __init__(self, *, hold: int = 30) -> None:
        self.hold = hold

    def on_slice(self, ctx: Any) -> None:
        count = ctx.state["count"] = ctx.state.get("count", 0) + 1
        for symbol, entry in ENTRIES.items():
            if count == entry:
                ctx.target_weight(symbol, 0.2)
            elif count == entry + self.hold:
                ctx.target_weight(symbol, 0.0)


class AboveAverage:
    """A view strategy of a program."""

    name = "above_average"
    features = ("sma_5",)

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        average = row.values.get("sma_5")
        return state, None if average is None else TargetView(1 if row.close > average else 0, 1.0, 1.0, {})


class Failing(TradingStrategy):
    symbols = ("A",)

    def on_slice(self, ctx: Any) -> None:
        raise ValueError("no idea")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B", "C", "D"))
    return folder


@pytest.fixture(scope="module")
def result(files: Path) -> Result:
    return backtest("ema_cross", files, settings=SETTINGS_FILE)


def command_summary(*arguments: object) -> dict[str, Any]:
    app = typer.Typer()
    command.register(app)
    run = CliRunner().invoke(app, [*map(str, arguments), "--json", "-"], catch_exceptions=False)
    summary: dict[str, Any] = json.loads(run.stdout)
    return summary


def test_the_decision_hash_is_that_of_the_command_line(files: Path, result: Result) -> None:
    expected = command_summary("--bars", files, "--settings", SETTINGS_FILE, "--strategy", "ema_cross")
    assert result.summary["fills"] > 100
    assert result.decision_hash == expected["decision_hash"]
    speed = {"elapsed_s", "bars_per_s"}
    excursions = {name for name in result.summary if name.startswith(("mae", "mfe"))}
    assert {name: result.summary[name] for name in result.summary.keys() - speed - excursions} == {
        name: expected[name] for name in expected.keys() - speed
    }


def test_a_frame_of_the_files_gives_their_decision_hash(files: Path, result: Result) -> None:
    bars = load_bars(files)
    assert list(bars.columns) == ["time", "symbol", "open", "high", "low", "close", "volume"]
    assert backtest("ema_cross", bars, settings=SETTINGS_FILE).decision_hash == result.decision_hash
    indexed = bars.sample(frac=1.0, random_state=7).set_index("time")
    assert backtest("ema_cross", indexed, settings=SETTINGS_FILE).decision_hash == result.decision_hash


def test_a_daily_frame_gives_the_decision_hash_of_its_file(tmp_path: Path) -> None:
    days = pd.bdate_range("2024-01-02", periods=30)
    days = days[~days.isin([pd.Timestamp("2024-01-15")])]
    closes = [100 + (number * 7 % 11) for number in range(len(days))]
    frame = pd.DataFrame({"time": days, "symbol": "A", "open": closes, "high": closes, "low": closes, "close": closes})
    frame["volume"] = 1000
    frame.to_csv(tmp_path / "A.csv", index=False)
    strategy = BuyAndSell(hold=10)
    expected = backtest(strategy, tmp_path / "A.csv")
    assert len(expected.trades) == 1
    assert backtest(strategy, frame).decision_hash == expected.decision_hash
    assert backtest(strategy, load_bars(tmp_path)).decision_hash == expected.decision_hash


def test_a_class_an_object_and_a_file_make_the_same_decisions(files: Path) -> None:
    by_class = backtest(BuyAndSell, files, parameters={"hold": 12})
    assert len(by_class.trades) == 2
    assert backtest(BuyAndSell(hold=12), files).decision_hash == by_class.decision_hash
    assert backtest(BuyAndSell, files).decision_hash != by_class.decision_hash
    named = backtest(f"{__file__}:BuyAndSell", files, parameters={"hold": 12})
    assert named.decision_hash == by_class.decision_hash


def test_an_object_is_used_by_several_runs_without_a_change(files: Path) -> None:
    strategy: Strategy = AboveAverage()
    hashes = {backtest(strategy, files).decision_hash for _ in range(2)}
    assert len(hashes) == 1
    assert type(strategy) is AboveAverage


def test_the_frames_have_the_rows_of_the_summary(result: Result) -> None:
    summary = result.summary
    assert (len(result.orders), len(result.signals)) == (summary["orders"], summary["signals"])
    assert (result.executions["event"] == "TRADE").sum() == summary["fills"]
    assert len(result.trades) == summary["closed_lots"]
    assert result.equity["equity"].iloc[-1] == pytest.approx(float(summary["final_equity"]))
    assert (1 + result.returns.to_numpy()).prod() - 1 == pytest.approx(summary["total_return"], abs=1e-9)
    assert str(result.equity["time"].dtype) == "datetime64[ns, UTC]"
    assert result.metrics.keys() == result.units.keys()


def test_a_result_is_shown_in_a_notebook_and_as_a_report(result: Result, tmp_path: Path) -> None:
    assert "<svg" in result._repr_html_()
    assert "max_drawdown" in result._repr_html_()
    page = result.report(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == page
    assert result.decision_hash in page
    assert result.decision_hash[:12] in repr(result)


def test_a_benchmark_adds_its_metrics(files: Path) -> None:
    assert backtest("ema_cross", files, settings=SETTINGS_FILE, benchmark="A").metrics.keys() >= {"alpha", "beta"}
    with pytest.raises(BadInput, match="no bars of the benchmark 'AA'; did you mean A"):
        backtest("ema_cross", files, settings=SETTINGS_FILE, benchmark="AA")


def test_a_suspended_strategy_is_a_warning_of_the_result(files: Path) -> None:
    [warning] = [text for text in backtest(Failing, files).warnings if "suspended" in text]
    assert warning.startswith("strategy failing was suspended: ValueError: no idea (")


def test_a_start_and_symbols_select_bars(files: Path) -> None:
    bars = load_bars(files, symbols=["B", "A"])
    assert set(bars["symbol"]) == {"A", "B"}
    middle = bars["time"].iloc[len(bars) // 2].isoformat()
    later = load_bars(files, start=middle)
    assert later["time"].min() >= pd.Timestamp(middle)
    pd.testing.assert_frame_equal(
        load_bars(files, end=middle, symbols=["A", "B"]), bars[bars["time"] < middle].reset_index(drop=True)
    )


def test_values_override_settings_by_nested_keys_and_by_names(files: Path) -> None:
    nested = backtest(BuyAndSell, files, settings={"portfolio_manager": {"initial_capital": 5000}})
    named = backtest(BuyAndSell, files, settings={"portfolio_manager.initial_capital": 5000})
    assert nested.summary["initial_equity"] == named.summary["initial_equity"] == "5000"
    assert named.settings["portfolio_manager"]["initial_capital"] == "5000"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "ema_crss"}, "unknown strategy 'ema_crss'; did you mean ema_cross"),
        ({"strategy": "ema_cross", "parameters": {"fst": 3}}, "did you mean fast"),
        ({"strategy": BuyAndSell, "parameters": {"holt": 3}}, "did you mean hold"),
        ({"strategy": BuyAndSell(), "parameters": {"hold": 3}}, "parameters apply to a class, found an object"),
        ({"strategy": 7}, "'python:int': `name` must be a non-empty string"),
        ({"parameters": {"hold": 3}}, "parameters need a strategy"),
        ({"settings": {"risk_manager.max_dayly_loss": 1}}, "max_dayly_loss; did you mean max_daily_loss"),
        ({"settings": "none.yaml"}, "settings file none.yaml does not exist"),
        ({"files": {"qotes": []}}, "unknown kind of files 'qotes'; did you mean quotes"),
        ({"symbols": "A"}, "symbols must be a list of names"),
        ({"calendar": "NYSE"}, "setting calendar"),
        ({"bars": "missing.csv"}, "file missing.csv does not exist"),
        ({"bars": ["topics:A", "bars/"]}, "bars topics: cannot be combined with other bars"),
        ({"bars": "topics:", "files": {"news": ["n.csv"]}}, "news and other records in the topics; pass no files"),
        ({"bars": ()}, "no bar files"),
        ({"bars": [7]}, "found an entry of type int"),
        ({"bars": pd.DataFrame()}, "the frame of bars has no column 'time': expected"),
        ({"bars": pd.DataFrame({"time": [], "symbl": []})}, "found time, symbl; did you mean symbl"),
    ],
)
def test_an_invalid_argument_is_one_sentence(arguments: dict[str, Any], message: str, files: Path) -> None:
    with pytest.raises(BadInput) as error:
        backtest(**{"bars": files, **arguments})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


SCRIPT = """
from operators.strategies import TargetView
from dataflows.research import backtest

class Slow:
    name = "slow"
    features = ()
    def decide(self, row, state):
        return state, TargetView(1, 1.0, 1.0, {})

result = backtest(Slow, BARS, settings={"signals.handler_time_limit_s": 0.05})
print(result.summary["fills"] > 0, [text for text in result.warnings if "suspended" in text])
"""


def test_a_script_is_not_a_call_of_its_strategy(files: Path, tmp_path: Path) -> None:
    """The script itself runs longer than the time limit of a call of the strategy that it contains."""
    script = tmp_path / "script.py"
    script.write_text(f"BARS = {str(files)!r}\n{SCRIPT}")
    environment = {"PYTHONPATH": str(REPOSITORY), "PLATFORM_HOME": str(tmp_path / "home")}
    run = subprocess.run([sys.executable, script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("True []\n", "")
