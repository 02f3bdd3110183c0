"""Saved runs: names, comparison, and a store that survives a killed writer."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner
from typer.testing import Result as CommandResult

from dataflows.research import Result, backtest, compare, load_run
from dataflows.research.run_store import RunStore, runs_folder
from deploy.commands import backtest as backtest_command
from deploy.commands import runs as runs_command
from deploy.home import REPOSITORY
from schemas.errors import BadInput, Unavailable
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE

FRAMES = ("equity", "trades", "orders", "executions", "signals")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B"))
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Path:
    """A state folder with the runs `slow` and `fast`."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_HOME", str(home))
        run(files, "slow")
        run(files, "fast", parameters={"fast": 5})
    return home


@pytest.fixture(autouse=True)
def _use_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))


def run(files: Path, name: str | None = None, **options: Any) -> Result:
    return backtest("ema_cross", files, settings=SETTINGS_FILE, name=name, save=True, **options)


def command(*arguments: object) -> CommandResult:
    app = typer.Typer()
    backtest_command.register(app)
    runs_command.register(app)
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_a_loaded_run_has_the_frames_and_settings_of_its_result(files: Path) -> None:
    result = run(files, "again")
    loaded = load_run("again")
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(result, name))
    pd.testing.assert_series_equal(loaded.returns, result.returns)
    assert (loaded.settings, loaded.metrics, loaded.sources) == (result.settings, result.metrics, result.sources)
    assert loaded.decision_hash == result.decision_hash == load_run("slow").decision_hash
    assert loaded.report() == result.report()


def test_a_run_of_the_command_is_saved_under_a_default_name(files: Path) -> None:
    arguments = ("backtest", "--bars", files, "--settings", SETTINGS_FILE, "--strategy", "ema_cross")
    saved = command(*arguments, "--save")
    assert saved.exit_code == 0, saved.output
    *_, name = RunStore(runs_folder()).names()
    assert name.startswith("ema_cross-20")
    assert f"saved as {name}" in saved.stderr
    assert load_run(name).decision_hash == load_run("slow").decision_hash
    assert load_run(name).sources == load_run("slow").sources
    assert command(*arguments).exit_code == 0
    assert RunStore(runs_folder()).names()[-1] == name


def test_a_comparison_shows_metrics_settings_and_the_first_decision_that_differ() -> None:
    comparison = compare("slow", "fast")
    slow, fast = load_run("slow"), load_run("fast")
    row = comparison.metrics.loc["total_return"]
    expected = fast.summary["total_return"] - slow.summary["total_return"]
    assert row["fast – slow"] == pytest.approx(expected, rel=1e-12)
    assert dict(comparison.parameters.loc["signals.strategies[0].parameters.fast"]) == {"slow": "–", "fast": "5"}
    difference = comparison.first_differences["fast"]
    assert difference is not None
    both = slow.orders.merge(fast.orders, how="outer", indicator=True, on=["time", "symbol", "side", "quantity"])
    first = both[both["_merge"] != "both"]["time"].min()
    assert difference.startswith(first.strftime("%Y-%m-%dT%H:%M"))
    assert "fast" in comparison._repr_html_()


def test_a_comparison_is_a_page_with_curves_metrics_settings_and_decisions(tmp_path: Path) -> None:
    page = compare("slow", "fast").report(tmp_path / "comparison.html")
    assert (tmp_path / "comparison.html").read_text() == page
    assert re.findall(r'<section id="(\w+)">', page) == ["curves", "decisions", "metrics", "parameters", "sources"]
    for chart in ("Growth of 1", "Drawdown"):
        (drawn,) = re.findall(rf'aria-label="{chart}">(.*?)</svg>', page)
        assert re.findall(r'class="line (line-\d)"', drawn) == ["line-1", "line-2"]
    difference = load_run("fast").summary["fills"] - load_run("slow").summary["fills"]
    assert f"<td>{difference:+d}</td>" in page
    assert "signals.strategies[0].parameters.fast" in page
    assert html.escape(str(compare("slow", "fast").first_differences["fast"])) in page
    for text in ("http", "src=", "<script"):
        assert text not in page


def test_the_command_writes_the_page_of_a_comparison(tmp_path: Path) -> None:
    target = tmp_path / "comparison.html"
    printed = command("runs", "compare", "slow", "fast", "--html", target)
    assert "first decision that differs" in printed.stdout
    assert target.read_text() == compare("slow", "fast").report()
    assert command("runs", "compare", "slow", "fast", "--html", "-").stdout == target.read_text()
    refused = command("runs", "compare", "slow", "fast", "--html", tmp_path / "none" / "c.html")
    assert "does not exist" in str(refused.exception)


def test_equal_runs_have_no_difference(files: Path) -> None:
    comparison = compare("slow", run(files))
    assert comparison.parameters.empty
    assert [*comparison.first_differences.values()] == [None]
    assert list(comparison.sources) == []


def test_the_commands_list_show_compare_and_remove_runs() -> None:
    assert [one["name"] for one in json.loads(command("runs", "list", "--json").stdout)] == ["slow", "fast"]
    assert load_run("slow").decision_hash[:12] in command("runs", "list").stdout
    assert json.loads(command("runs", "show", "slow", "--json").stdout)["summary"] == load_run("slow").summary
    assert load_run("slow").sources.data_sha256 in command("runs", "show", "slow").stdout
    assert "first decision that differs" in command("runs", "compare", "slow", "fast").stdout
    assert list(json.loads(command("runs", "compare", "slow", "fast", "--json").stdout)["first_differences"]) == [
        "fast"
    ]
    assert command("runs", "rm", "slow").stdout == "removed slow\n"
    assert RunStore(runs_folder()).names() == ["fast"]
    assert len([path for path in runs_folder().iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slow", "a run named 'slow' exists; choose another name, such as slow-2"),
        ("a b", "a run must be named by up to 100 letters"),
    ],
)
def test_a_name_that_a_run_cannot_have_is_rejected_before_the_run(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        backtest("ema_cross", "missing.csv", name=name)
    assert message in str(command("backtest", "--bars", "missing.csv", "--name", name).exception)


def test_an_unknown_run_and_too_few_runs_are_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"unknown run 'slw'; did you mean slow\?"):
        compare("slow", "slw")
    with pytest.raises(BadInput, match="needs two or more runs, found 1"):
        compare("slow")
    with pytest.raises(BadInput, match="needs different runs, found slow, slow"):
        compare("slow", "slow")
    assert "unknown run 'fst'; did you mean fast" in str(command("runs", "rm", "fst").exception)


def test_a_store_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = RunStore(tmp_path / "file" / "runs")
    with pytest.raises(Unavailable, match=r"the store of runs .* cannot be used: Not a directory"):
        store.save(RunStore(runs_folder()).run("slow")._replace(name="new"), {})


KILLED_AT = """
import os, signal, sys
from dataflows.research import run_store
from dataflows.research.run_store import RunStore, runs_folder
calls = 0
sync = run_store._sync
def sync_or_die(path):
    global calls
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    sync(path)
run_store._sync = sync_or_die
store = RunStore(runs_folder())
run = store.run("slow")
store.save(run._replace(name="new"), store.tables(run))
"""


@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_killed_writer_leaves_no_run_and_nothing_behind(at: int, files: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run([sys.executable, "-c", KILLED_AT, str(at)], env=environment, cwd=files, check=False)
    assert killed.returncode == -signal.SIGKILL
    store = RunStore(runs_folder())
    assert store.names() == ["slow", "fast"]
    assert len([path for path in runs_folder().iterdir() if path.is_dir()]) == 3
    slow = store.run("slow")
    store.save(slow._replace(name="new"), store.tables(slow))
    assert load_run("new").decision_hash == slow.decision_hash
    assert len([path for path in runs_folder().iterdir() if path.is_dir()]) == 3
