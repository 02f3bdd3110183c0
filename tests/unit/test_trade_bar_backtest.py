"""`backtest --market-trades`: bars of trades in the command, and what it says without trades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from configs.declared_trade_bars import cold_start_sentence
from configs.settings import load_settings
from deploy.commands import backtest
from tests.unit.orders_backtest import SETTINGS, write_bars

STRATEGY = """
from operators.strategies import TradingStrategy


class Flow(TradingStrategy):
    symbols, history = ("AAPL",), {"100v": 9}
    bar_source = "SOURCE"

    def on_slice(self, ctx):
        if ctx.closed("100v"):
            bar = ctx.bar("AAPL", "100v")
            if bar.close > 100:
                ctx.submit("AAPL", "BUY", len(ctx.history("AAPL", "100v")["close"]))
"""
TRADES = """time,symbol,price,size,exchange
2024-01-02T14:30:05.250Z,AAPL,100,60,Q
2024-01-02T14:31:10Z,MSFT,300,600,Q
2024-01-02T14:31:20Z,AAPL,100.5,290,Q
2024-01-02T14:31:30Z,AAPL,-1,50,Q
"""


def run(folder: Path, source: str, *options: str) -> Result:
    app = typer.Typer()
    backtest.register(app)
    app.command("other")(lambda: None)  # typer drops the name of a single command
    (folder / "flow.py").write_text(STRATEGY.replace("SOURCE", source))
    (folder / "trades.csv").write_text(TRADES)
    (folder / "settings.yaml").write_text(SETTINGS)
    options = (*options, "--strategy", f"{folder / 'flow.py'}:Flow", "--orders-out", str(folder / "orders.csv"))
    files = ["--bars", str(write_bars(folder, "AAPL", "MSFT")), "--settings", str(folder / "settings.yaml")]
    return CliRunner().invoke(app, ["backtest", *files, *options, "--json", str(folder / "summary.json")])


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def orders(folder: Path) -> list[str]:
    return (folder / "orders.csv").read_text().splitlines()[1:]


def test_a_file_of_trades_closes_bars_within_a_bar_of_the_feed(tmp_path: Path) -> None:
    """350 units have traded by 14:32: three bars, and the order is for as many units."""
    result = run(tmp_path, "trades", "--market-trades", str(tmp_path / "trades.csv"))
    assert result.exit_code == 1, result.output  # one row is rejected
    (order,) = orders(tmp_path)
    assert "AAPL,BUY" in order and ",3," in order
    found = summary(tmp_path)
    assert found["dead_letters"] == 1
    assert not any("trades" in one for one in found.get("warnings", []))


def test_a_run_without_trades_says_from_what_its_bars_were_built(tmp_path: Path) -> None:
    result = run(tmp_path, "trades_or_bars")
    assert result.exit_code == 0, result.output
    assert (
        "bars of 100v of flow were built from the bars of the feed, because it has no trades: pass --market-trades"
        in summary(tmp_path)["warnings"]
    )


def test_a_file_of_trades_of_another_day_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "later.csv"
    file.write_text("time,symbol,price,quantity\n2024-01-03T14:31:20Z,AAPL,100.5,290\n")
    result = run(tmp_path, "trades_or_bars", "--market-trades", str(file))
    assert result.exit_code == 0, result.output
    assert orders(tmp_path) == []
    (warning,) = [one for one in summary(tmp_path)["warnings"] if "trades" in one]
    assert warning.startswith("the run had no trades, so that no bars of 100v of flow closed")


EARLIER = """time,symbol,price,size
2024-01-02T14:29:59Z,AAPL,90,900
2024-01-02T14:30:05Z,AAPL,101,60
2024-01-02T14:31:10Z,MSFT,300,600
2024-01-02T14:31:20Z,AAPL,101,140
2024-01-02T14:32:00Z,AAPL,102,7
2024-01-02T14:33:10Z,AAPL,103,93
"""


def test_trades_before_the_start_warm_up_the_bars(tmp_path: Path) -> None:
    """200 units trade before 14:32, and 100 afterwards: the first bar of the run is the third one."""
    file = tmp_path / "earlier.csv"
    file.write_text(EARLIER)
    result = run(tmp_path, "trades", "--market-trades", str(file), "--start", "2024-01-02T14:32:00Z")
    assert result.exit_code == 0, result.output
    (order,) = orders(tmp_path)
    assert ",3," in order and not [one for one in summary(tmp_path).get("warnings", []) if "trades" in one]


def test_a_start_without_earlier_trades_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "later.csv"
    file.write_text("\n".join(EARLIER.splitlines()[:1] + EARLIER.splitlines()[5:]))
    result = run(tmp_path, "trades", "--market-trades", str(file), "--start", "2024-01-02T14:32:00Z")
    assert result.exit_code == 0, result.output
    expected = "bars of 100v of flow warmed up with the first trades of the run: there were no trades before the start"
    assert expected in summary(tmp_path)["warnings"]


@pytest.mark.parametrize(
    ("feed", "source", "expected"),
    [
        ("simulator", "trades", "the simulator has no trades from before the start: bars of 100v of flow warm up "),
        ("alpaca", "trades", "a live feed has no trades from before the start: bars of 100v of flow warm up "),
        ("simulator", "bars", ""),
        ("files", "trades", ""),
    ],
)
def test_a_feed_without_earlier_trades_reports_the_bars_that_start_cold(
    feed: str, source: str, expected: str, tmp_path: Path
) -> None:
    """A feed without any trades rejects the strategy, or builds the bars from those of the feed."""
    (tmp_path / "flow.py").write_text(STRATEGY.replace("SOURCE", source))
    strategies = json.dumps([{"name": f"{tmp_path / 'flow.py'}:Flow"}])
    environment = {"SIGNALS__STRATEGIES": strategies, "MARKET_DATA__FEED": feed}
    sentence = cold_start_sentence(load_settings(environment=environment))
    assert sentence == (f"{expected}with the first trades" if expected else "")


def test_required_trades_that_are_missing_are_one_sentence(tmp_path: Path) -> None:
    result = run(tmp_path, "trades")
    assert result.exit_code == 1
    assert "strategy flow: bars of 100v need trades, which this feed does not have" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,symbol,price\n", "has no column for size"),
        ("time,symbol,price,size\n2024-01-02T14:31:20Z,AAPL,0,5\n", "field price must be > 0 and finite, found 0.0"),
    ],
)
def test_a_bad_file_of_trades_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    result = run(tmp_path, "trades", "--market-trades", str(file))
    assert result.exit_code == 1
    assert message in str(result.exception)
