"""A walk-forward chooses the best set of each training period, and its tests are single backtests of the next bars."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dataflows.research import Result, WalkForwardResult, backtest, walk_forward
from dataflows.research.sweeps import trial_pass
from dataflows.research.sweeps.trial_search import Period
from dataflows.research.sweeps.walk_forward_windows import WindowLengths, walk_forward_windows
from dataflows.research.trial_ledger import TrialLedger
from deploy.commands import walk_forward as command
from deploy.home import Home
from schemas.errors import BadInput

GRID = {"fast": [4, 8], "slow": [12, 24]}
SETS = [{"fast": fast, "slow": slow} for fast in GRID["fast"] for slow in GRID["slow"]]
SETTINGS = {"market_data.files.calendar": "24/7"}
START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 27


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars of an hour over 27 days of two symbols."""
    folder = tmp_path_factory.mktemp("bars")
    for number, symbol in enumerate(("BTC", "ETH")):
        generator, price, rows = random.Random(number), 100.0, ["timestamp,open,high,low,close,volume"]
        for hour in range(24 * DAYS):
            first, price = price, max(1.0, price * (1 + generator.gauss(0, 0.01)))
            values = (first, max(first, price), min(first, price), price)
            time = (START + timedelta(hours=hour)).isoformat()
            rows.append(f"{time},{','.join(f'{value:.2f}' for value in values)},1000")
        (folder / f"{symbol}.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


def run(files: Path, **arguments: Any) -> WalkForwardResult:
    defaults = {"grid": GRID, "train": "10d", "test": "5d", "objective": "total_return", "processes": 1}
    return walk_forward("ema_cross", files, **{**defaults, "settings": SETTINGS, **arguments})


def single(files: Path, parameters: dict[str, int], start: str | None, end: str | None) -> Result:
    return backtest("ema_cross", files, settings=SETTINGS, parameters=parameters, start=start, end=end)


def day(number: int) -> str:
    return (START + timedelta(days=number)).isoformat()


def test_each_test_is_the_single_backtest_of_the_best_training_set(files: Path) -> None:
    result = run(files, purge="1d")
    assert len(result.windows) == 4
    returns: list[float] = []
    for number, row in enumerate(result.windows.to_dict("records")):
        train = {"start": day(5 * number) if number else None, "end": day(5 * number + 10)}
        test = {"start": day(5 * number + 11), "end": day(5 * number + 16) if number < 3 else None}
        trained = [single(files, one, **train) for one in SETS]
        totals = [one.metrics["total_return"] or 0.0 for one in trained]
        best = totals.index(max(totals))
        assert SETS[best] == {"fast": row["fast"], "slow": row["slow"]}
        assert row["return_in_sample"] == row["objective_in_sample"] == totals[best]
        tested = single(files, SETS[best], **test)
        assert row["decision_hash"] == tested.decision_hash
        assert row["return_out_of_sample"] == tested.metrics["total_return"]
        returns += tested.returns.tolist()
    assert result.returns.tolist() == returns
    assert result.returns.index.is_monotonic_increasing
    assert result.equity.iloc[-1] == pytest.approx((1 + pd.Series(returns)).prod())
    assert result.metrics["total_return"] == pytest.approx(result.equity.iloc[-1] - 1)


def test_efficiency_and_stability_follow_from_the_windows(files: Path) -> None:
    result = run(files)
    row = result.stability.set_index("parameter").loc["fast"]
    counts = result.windows["fast"].value_counts()
    assert (row["distinct"], row["share"]) == (len(counts), counts.max() / len(result.windows))
    in_sample = []
    for number, window in enumerate(result.windows.to_dict("records")):
        period = {"start": day(5 * number) if number else None, "end": day(5 * number + 10)}
        in_sample += single(files, {name: window[name] for name in GRID}, **period).returns.tolist()
    mean = sum(in_sample) / len(in_sample)
    assert mean > 0
    assert result.efficiency == pytest.approx(result.returns.mean() / mean)


def test_an_interrupted_walk_forward_continues(files: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(ended: int, requested: int) -> None:
        if ended >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(files, progress=interrupt)
    recorded = len(TrialLedger(home.trial_ledger).trials())
    assert 8 <= recorded < 16
    counts: list[int] = []
    result = run(files, progress=lambda ended, requested: counts.append(ended))
    assert counts[0] == recorded
    assert TrialLedger(home.trial_ledger).verify() == 4 * len(result.windows) + len(result.windows)
    monkeypatch.setattr(trial_pass, "_run_pass", lambda *_: pytest.fail("a trial ran again"))
    monkeypatch.setattr(trial_pass, "_run_single", lambda *_: pytest.fail("a trial ran again"))
    pd.testing.assert_frame_equal(run(files).windows, result.windows)


def test_windows_follow_one_another_with_their_gap() -> None:
    first_ns = int(START.timestamp()) * 10**9
    last_ns = first_ns + 20 * 86_400 * 10**9
    rolling = walk_forward_windows(first_ns, last_ns, "24/7", WindowLengths(7, 5, 2))
    assert [(one.train, one.test) for one in rolling] == [
        (Period(None, day(7)), Period(day(9), day(14))),
        (Period(day(5), day(12)), Period(day(14), day(19))),
        (Period(day(10), day(17)), Period(day(19), None)),
    ]
    limits = Period("2024-01-01", "2024-01-22")
    anchored = walk_forward_windows(first_ns, last_ns, "24/7", WindowLengths(7, 10, anchored=True), period=limits)
    assert [(one.train, one.test) for one in anchored] == [
        (Period("2024-01-01", day(7)), Period(day(7), day(17))),
        (Period("2024-01-01", day(17)), Period(day(17), "2024-01-22")),
    ]


def test_windows_of_an_exchange_start_at_its_midnight_in_summer_and_winter() -> None:
    first_ns, last_ns = (int(datetime(2024, 3, one, 15, tzinfo=UTC).timestamp()) * 10**9 for one in (4, 15))
    windows = walk_forward_windows(first_ns, last_ns, "XNYS", WindowLengths(5, 3))
    assert [one.test.start for one in windows] == [
        "2024-03-09T00:00:00-05:00",
        "2024-03-12T00:00:00-04:00",
        "2024-03-15T00:00:00-04:00",
    ]


def test_the_command_writes_the_result_as_json(files: Path) -> None:
    app = typer.Typer()
    command.register(app)
    options = ["--train", "10d", "--test", "1w", "--objective", "total_return", "--calendar", "24/7"]
    arguments = ["--strategy", "ema_cross", "--bars", str(files), "--grid", "fast=4,8", *options, "--processes", "1"]
    text = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "3 windows, each with the best of 2 trials; 17 days out of sample." in text
    tree = json.loads(CliRunner().invoke(app, [*arguments, "--json", "-"], catch_exceptions=False).stdout)
    assert len(tree["windows"]) == 3
    assert min(tree["returns"]) == "2024-01-11"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": "10"}, "train must be a number of days or weeks, such as 60d or 8w, found '10'"),
        ({"test": "0d"}, "test must be at least 1d"),
        ({"purge": "1h"}, "purge must be a number of days or weeks"),
        ({"train": "60d"}, "the bars cover 27 days, from 2024-01-01 to 2024-01-27; the first test period starts"),
        ({"objective": "sharpe"}, "over 10 days from the first bar to 2024-01-11T00:00:00+00:00; annualized metrics"),
        ({"grid": {}}, "the grid is empty"),
        ({"grid": {"fats": [3]}}, "did you mean fast"),
    ],
)
def test_invalid_input_is_one_sentence(arguments: dict[str, Any], message: str, files: Path) -> None:
    with pytest.raises(BadInput) as error:
        run(files, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_belongs_to_one_walk_forward(files: Path) -> None:
    run(files, name="first", grid={"fast": [4]})
    with pytest.raises(BadInput, match="exists with another windows"):
        run(files, name="first", grid={"fast": [4]}, test="6d")
