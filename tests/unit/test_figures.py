"""Figures of results contain the values of the result, and say what is missing in one sentence."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataflows.research import Result, backtest, sweep, walk_forward
from dataflows.research.figures import POINTS_MAX, equity_figure, trials_figure
from dataflows.research.market_tables import PRICES
from operators.strategies import TradingStrategy
from schemas.errors import BadInput
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE

DAYS = [date(2024, 3, day) for day in (4, 5, 6, 7)]


class BuyThenSell(TradingStrategy):
    """Holds both symbols for some bars, again and again."""

    symbols = ("A", "B")

    def __init__(self, *, hold: int = 10, weight: float = 0.04) -> None:
        self.hold, self.weight = hold, weight

    def on_slice(self, ctx: Any) -> None:
        count = ctx.state["count"] = ctx.state.get("count", 0) + 1
        for symbol in self.symbols:
            ctx.target_weight(symbol, self.weight if count // self.hold % 2 else 0.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B"), days=DAYS, open_time=time(9, 30), minutes=120)
    return folder


@pytest.fixture(scope="module")
def result(files: Path) -> Result:
    return backtest(BuyThenSell, files, settings=SETTINGS_FILE, benchmark="B")


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


def test_equity_figure_shows_equity_benchmark_and_drawdown(result: Result) -> None:
    figure = result.equity_figure()
    shown = traces(figure)
    assert list(shown) == ["equity", "B", "drawdown"]
    np.testing.assert_array_equal(shown["equity"].y, result.equity["equity"])
    np.testing.assert_array_equal(shown["drawdown"].y, -result.equity["drawdown"])
    assert pd.Timestamp(shown["equity"].x[-1]) == result.equity["time"].iloc[-1]
    assert figure.layout.yaxis.title.text == "account currency"


def test_a_long_curve_is_thinned_and_contains_its_extremes() -> None:
    times = pd.date_range("2024-01-01", periods=200_000, freq="min", tz="UTC")
    values = pd.Series(np.random.default_rng(1).normal(100, 1, len(times)).cumsum(), index=times)
    figure = equity_figure("long", {"equity": values}, 1 - values / values.cummax(), "USD")
    shown = traces(figure)["equity"].y
    assert len(shown) <= POINTS_MAX + 2
    assert (shown.min(), shown.max(), shown[-1]) == (values.min(), values.max(), values.iloc[-1])


def test_trades_figure_shows_each_lot_on_the_prices(result: Result) -> None:
    lots = result.trades[result.trades["symbol"] == "A"]
    figure = result.trades_figure("A")
    shown = traces(figure)
    np.testing.assert_array_equal(shown["long entry"].y, lots["entry_price"])
    assert len(shown["short entry"].y) == 0
    exits = [*shown["exit with profit"].y, *shown["exit with loss"].y]
    assert sorted(exits) == sorted(lots["exit_price"]) and len(exits) > 2
    profits = (lots["pnl"] - lots["fees"] > 0).sum()
    assert len(shown["exit with profit"].y) == profits
    assert len(shown["price"].close) == (result.tables[PRICES].to_pandas()["symbol"] == "A").sum()


def test_trades_figure_takes_the_symbol_with_most_lots_and_names_an_unknown_one(result: Result) -> None:
    most = result.trades["symbol"].value_counts().index[0]
    assert result.trades_figure().layout.title.text.startswith(f"{most}: ")
    with pytest.raises(BadInput, match=r"^the run has no prices of symbol 'a'; did you mean A\?$"):
        result.trades_figure("a")
    without = replace(result, tables={name: one for name, one in result.tables.items() if name != PRICES})
    with pytest.raises(BadInput, match=r"^the run did not store its bars; run it with --report or --trades"):
        without.trades_figure()


def test_figures_of_a_sweep_and_of_a_walk_forward(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    grid: dict[str, list[Any]] = {"hold": [5, 10], "weight": [0.02, 0.04]}
    common: dict[str, Any] = {"settings": SETTINGS_FILE, "objective": "total_return", "processes": 1}
    swept = sweep(BuyThenSell, files, grid=grid, **common)
    (cells,) = swept.trials_figure().data
    rows = swept.trials.set_index(["hold", "weight"])["objective"]
    found = {(int(x), float(y)): cells.z[j][i] for i, x in enumerate(cells.x) for j, y in enumerate(cells.y)}
    assert found == rows.to_dict()
    walked = walk_forward(BuyThenSell, files, grid={"hold": [5, 10]}, train="1d", test="1d", **common)
    shown = traces(walked.equity_figure())
    np.testing.assert_array_equal(shown["growth of 1"].y, walked.equity)
    assert -shown["drawdown"].y.min() == pytest.approx(walked.metrics["max_drawdown"])


def test_trials_of_one_parameter_are_points_and_of_three_parallel_axes() -> None:
    trials = pd.DataFrame(
        {"a": [1, 2, 3], "b": ["x", "y", "x"], "c": [True, False, True], "objective": [0.1, 0.2, None]}
    )
    (points,) = trials_figure("one", trials, ["a"], "sharpe").data
    assert (list(points.x), list(points.y)) == ([1, 2], [0.1, 0.2]), "trials without an objective are left out"
    (axes,) = trials_figure("three", trials, ["a", "b", "c"], "sharpe").data
    assert [one.label for one in axes.dimensions] == ["a", "b", "c", "sharpe"]
    assert list(axes.dimensions[1].ticktext) == ["x", "y"]


def test_without_plotly_a_figure_is_one_sentence(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "plotly"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    for figure in (result.equity_figure, result.trades_figure):
        with pytest.raises(
            BadInput, match=r"^plotly.* is not installed; install it with .*requirements-research\.txt$"
        ):
            figure()
