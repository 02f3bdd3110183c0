"""Stress tables: rows are the backtests with the changed setting, and the notes say where a result is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dataflows.research import backtest, bar_noise, capacity, cost_sensitivity, load_bars
from dataflows.research.robustness.stressed_runs import row_of
from deploy.commands import stress
from operators.strategies import TradingStrategy
from schemas.errors import BadInput
from tests.replay.market import MONDAY, write_market

MINUTES = 120
CAPITAL = 20_000
NO_FEES = {"execution.venue.fee_model": "none"}
NAN = float("nan")


class Hold(TradingStrategy):
    """Buys in the first minute and sells in the last but one, so that costs change no decision."""

    symbols = ("A",)

    def on_slice(self, ctx: Any) -> None:
        count = ctx.state["count"] = ctx.state.get("count", 0) + 1
        if count == 1:
            ctx.target_weight("A", 0.05)
        elif count == MINUTES - 10:
            ctx.target_weight("A", 0.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B"), days=[MONDAY], minutes=MINUTES)
    return folder


def test_costs_are_changed_one_at_a_time_and_the_present_ones_give_the_plain_run(files: Path) -> None:
    table = cost_sensitivity(Hold, files, fees=[2, 0, 1], slippage_bps=[1, 50], delays_s=[0, 600])
    base, *others = table.frame.to_dict("records")
    rows = {(row["cost"], row["level"]): row for row in others}
    plain = row_of(backtest(Hold, files))
    assert {name: base[name] for name in plain} == plain
    for cost, level in (("fees", 1), ("slippage", 1), ("delay", 0)):
        assert rows[cost, level]["total_return"] == plain["total_return"], "the settings already have this level"
    assert [rows["fees", level]["fees"] for level in (0, 1, 2)] == [0, plain["fees"], 2 * plain["fees"]]
    assert rows["fees", 0]["total_return"] > rows["fees", 1]["total_return"] > rows["fees", 2]["total_return"]
    assert rows["slippage", 50]["total_return"] == pytest.approx(plain["total_return"] - 2 * 0.05 * 0.0049, rel=0.1)
    assert rows["delay", 600]["total_return"] != plain["total_return"]


def test_a_note_says_at_which_cost_the_return_is_lost(files: Path) -> None:
    """The strategy trades 5 percent of the equity twice; its return before slippage is lost at the noted slippage."""
    settings = NO_FEES
    table = cost_sensitivity(Hold, files, slippage_bps=[0, 500], fees=[1], delays_s=[0], settings=settings)
    slippage = table.frame[table.frame["cost"] == "slippage"]
    without, most = slippage["total_return"]
    note = next(note for note in table.notes if note.startswith("slippage"))
    if without <= 0:
        assert note == "slippage: the total return is not above 0 even at 0 bp of slippage"
    else:
        assert float(note.split("about ")[1].split()[0]) == pytest.approx(500 * without / (without - most), rel=0.01)
    higher = cost_sensitivity(Hold, files, slippage_bps=[0], fees=[1], delays_s=[0], settings=settings)
    assert any("stays above 0 up to 0 bp" in one or "not above 0" in one for one in higher.notes)


def test_published_fee_rates_are_not_multiplied(files: Path) -> None:
    table = cost_sensitivity(Hold, files, settings={"execution.venue.fee_model": "alpaca_equity"})
    assert "fees" not in set(table.frame["cost"])
    assert table.notes[0] == "fees: not changed, because the fee model alpaca_equity has published rates"


def test_more_impact_is_equal_to_more_capital(files: Path) -> None:
    """Four times the capital and the impact of its orders cost the same share as twice the impact."""
    settings = {**NO_FEES, "portfolio_manager.initial_capital": CAPITAL}
    table = capacity(Hold, files, multiples=[4], impact_bps=100, settings=settings)
    assert list(table.frame["multiple"]) == [0, 1, 4]
    square_root = {"execution.venue.slippage_model": "square_root", "execution.venue.impact_bps": 100}
    base, larger = (
        backtest(Hold, files, settings={**square_root, **NO_FEES, "portfolio_manager.initial_capital": amount})
        for amount in (CAPITAL, 4 * CAPITAL)
    )
    assert list(table.frame["capital"]) == [0, CAPITAL, 4 * CAPITAL]
    assert table.frame["total_return"][1] == base.metrics["total_return"]
    assert table.frame["total_return"][2] == pytest.approx(larger.metrics["total_return"], rel=0.02)
    assert table.frame["total_return"][0] > table.frame["total_return"][1] > table.frame["total_return"][2]


def test_noise_is_that_of_the_seed(files: Path) -> None:
    table = bar_noise(Hold, files, noise_bps=5, runs=3, seed=7)
    assert table.frame["seed"].iloc[1:].tolist() == [7, 8, 9]
    assert table.frame["total_return"].iloc[0] == backtest(Hold, files).metrics["total_return"]
    assert table.frame["total_return"].nunique() == 4
    again = bar_noise(Hold, load_bars(files), noise_bps=5, runs=1, seed=8)
    assert again.frame["total_return"].iloc[1] == table.frame["total_return"].iloc[2]
    assert "with noise from" in table.notes[0]


def test_noise_uses_the_selected_bars(files: Path) -> None:
    bars = load_bars(files, symbols=["A"])
    middle = bars["time"].iloc[len(bars) // 2].isoformat()
    table = bar_noise(Hold, files, runs=1, end=middle, symbols=["A"])
    plain = backtest(Hold, files, end=middle, symbols=["A"])
    assert table.frame["total_return"].iloc[0] == plain.metrics["total_return"]
    assert table.frame["fills"].iloc[0] == 1, "the sale is after the last selected bar"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cost_sensitivity(Hold, "bars", fees=[]), "fees must have at least one number"),
        (
            lambda: cost_sensitivity(Hold, "bars", fees=iter([NAN])),
            "fees must be finite numbers of at least 0, found nan",
        ),
        (
            lambda: cost_sensitivity(Hold, "bars", delays_s=[-1]),
            "delays_s must be finite numbers of at least 0, found -1",
        ),
        (lambda: capacity(Hold, "bars", multiples=[0]), "multiples must be finite numbers above 0, found 0"),
        (lambda: capacity(Hold, "bars", impact_bps=0), "impact_bps must be finite numbers above 0, found 0.0"),
        (lambda: bar_noise(Hold, "bars", runs=0), "runs must be a whole number of at least 1, found 0"),
        (
            lambda: capacity(Hold, "bars", name="x"),
            "the runs of a stress test are not saved",
        ),
    ],
)
def test_invalid_arguments_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        call()


def test_the_command_prints_the_tables(files: Path) -> None:
    app = typer.Typer()
    stress.register(app)
    arguments = ["stress", "costs", "--strategy", "ema_cross", "--bars", str(files), "--fees", "0,1"]
    arguments += ["--slippage-bps", "1", "--delays-s", "0"]
    printed = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout
    table = json.loads(printed)
    assert [(row["cost"], row["level"]) for row in table["rows"]] == [
        ("none", None),
        ("fees", 0),
        ("fees", 1),
        ("slippage", 1),
        ("delay", 0),
    ]
    text = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert text.startswith("Costs: one changed at a time") and "slippage" in text
    with pytest.raises(BadInput, match="--fees must be numbers with commas between them, such as 0,1,2; found '1,x'"):
        CliRunner().invoke(app, [*arguments, "--fees", "1,x"], catch_exceptions=False)
    for name in ("capacity", "noise"):
        small = ["--multiples", "1"] if name == "capacity" else ["--runs", "1"]
        shown = CliRunner().invoke(
            app, ["stress", name, "--strategy", "ema_cross", "--bars", str(files), *small], catch_exceptions=False
        )
        assert "total_return" in shown.stdout
