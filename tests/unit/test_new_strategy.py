"""`strategies new` writes a strategy that passes its check and its test; invalid names are refused."""

from __future__ import annotations

import json
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deploy.commands import strategies
from deploy.strategy_template import VIEW_TEMPLATE, write_strategy
from operators.signals import SignalStage
from schemas.errors import BadInput
from schemas.records import HistoryRow, Signal
from tests.builders import feature_row

app = typer.Typer()
strategies.register(app)


@pytest.mark.parametrize("view", [False, True])
def test_a_new_strategy_passes_its_own_tests(tmp_path: Path, view: bool) -> None:
    file, test, class_name = write_strategy("my_average", tmp_path / "own", view=view)
    assert (file.name, test.name, class_name) == ("my_average.py", "test_my_average.py", "MyAverage")
    functions = {name: one for name, one in run_path(str(test)).items() if name.startswith("test_")}
    assert list(functions) == ["test_the_check_has_no_findings", "test_a_rise_is_bought_and_a_fall_is_sold"]
    for function in functions.values():
        function()


def test_a_new_view_strategy_trades_from_its_first_row_after_history() -> None:
    """The view of the last bar of the history is unpublished. A state such as "already long" would hide it."""
    namespace: dict[str, Any] = {}
    exec(VIEW_TEMPLATE.format(type="MyAverage", name="my_average"), namespace)  # noqa: S102
    stage = SignalStage([namespace["MyAverage"]()])
    values = {"sma_20": 100.0}
    history = HistoryRow(symbol="AAPL", seq=1, ts_ns=120, end_ns=60, bar_seq=1, close=101.0, values=values, first_seq=1)
    (signal,) = stage.on_slice(120, [history, feature_row("AAPL", 2, 120, 101.0, values=values)])
    assert isinstance(signal, Signal) and signal.direction == 1
    assert stage.on_slice(180, [feature_row("AAPL", 3, 180, 101.0, values=values)]) == []


def test_the_command_names_the_next_steps(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["strategies", "new", "my_average", "--folder", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    source = json.loads(result.output)["source"]
    assert source == f"{tmp_path / 'my_average.py'}:MyAverage"
    text = CliRunner().invoke(app, ["strategies", "new", "second", "--folder", str(tmp_path)]).output
    assert f"python cli.py backtest --bars bars/ --strategy {tmp_path / 'second.py'}:Second" in text
    checked = CliRunner().invoke(app, ["strategies", "check", source, "--minutes", "415"])
    assert checked.exit_code == 0, checked.output
    assert "warm-up: two start dates agree from bar 20 on" in checked.output


@pytest.mark.parametrize("existing", ["my_average.py", "test_my_average.py"])
def test_existing_files_are_not_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    with pytest.raises(BadInput, match=f"{existing} already exists; choose another name or --folder"):
        write_strategy("my_average", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("MyAverage", "my_average"),
        ("my-average 2", "my_average_2"),
        ("../../own", "own"),
        ("2fast", "my_2fast"),
        ("class", "my_class"),
        ("test_grid", "my_grid"),
        ("_", "my_strategy"),
        ("a" * 40, "a" * 28),
    ],
)
def test_an_unsuitable_name_is_rejected_with_a_suggestion(tmp_path: Path, name: str, suggestion: str) -> None:
    with pytest.raises(BadInput, match=rf"did you mean {suggestion}\?"):
        write_strategy(name, tmp_path)
    write_strategy(suggestion, tmp_path)


def test_a_name_of_the_platform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="grid is a strategy of the platform; choose another name, such as my_grid"):
        write_strategy("grid", tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot write into the folder"):
        write_strategy("my_average", tmp_path / "file")
