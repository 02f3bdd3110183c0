"""The examples of `docs/examples` run, and do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.strategy_examples import EXAMPLES, load
from tests.unit.trading_desk import TradingDesk


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_have_at_most_forty_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40


def test_the_index_lists_each_example_once() -> None:
    links = re.findall(r"^\| \[([\w.]+)\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(links) == [(path.name, path.name) for path in sorted(EXAMPLES.glob("*.py"))]


def test_a_stop_order_follows_the_fill_of_the_entry() -> None:
    """500 shares at 100 with half of 100,000; the stop at 98 is triggered by a bar at 97."""
    desk = TradingDesk(load("stop_loss", "StopLoss"))
    desk.step(3, SPY=100.0)
    desk.step(SPY=99.0)
    desk.step(SPY=97.0)
    desk.check()
    assert desk.trades() == [(2, "SPY", 500.0, 100.0), (5, "SPY", -500.0, 97.0)]


def test_weights_are_traded_back_once_a_day() -> None:
    """60, 30 and 10 percent of 100,000, one minute after the handler at minute 5."""
    desk = TradingDesk(load("rebalance", "Rebalance"))
    desk.step(60, SPY=400.0, TLT=100.0, GLD=200.0)
    desk.check()
    assert desk.trades() == [(6, "GLD", 50.0, 200.0), (6, "SPY", 150.0, 400.0), (6, "TLT", 300.0, 100.0)]


def test_a_position_is_closed_at_five_to_four() -> None:
    """15:55 is minute 385; the order is filled in the next minute."""
    desk = TradingDesk(load("scheduled_exit", "Intraday"))
    desk.step(390, SPY=100.0)
    desk.check()
    assert desk.trades() == [(2, "SPY", 500.0, 100.0), (386, "SPY", -500.0, 100.0)]


def test_a_position_is_closed_before_an_early_close() -> None:
    desk = TradingDesk(load("scheduled_exit", "Intraday"), minutes=210, early_close=True)
    desk.step(210, SPY=100.0)
    desk.check()
    assert desk.trades() == [(2, "SPY", 500.0, 100.0), (206, "SPY", -500.0, 100.0)]


def test_a_trailing_stop_follows_the_best_price() -> None:
    """Bought at 102; the best price is 110, and one percent below it is 108.90."""
    desk = TradingDesk(load("trailing_stop", "TrailingStop"))
    desk.step(5, SPY=100.0)
    desk.step(2, SPY=102.0)
    desk.step(2, SPY=110.0)
    desk.step(SPY=108.0)
    desk.check()
    assert desk.trades() == [(7, "SPY", 100.0, 102.0), (10, "SPY", -100.0, 108.0)]


def test_a_breakout_is_bought_with_a_bracket() -> None:
    """The range is 100 to 102: entry above 102.01, take profit at 106."""
    desk = TradingDesk(load("bracket", "OpeningRange"))
    desk.step(7, SPY=100.0)
    desk.step(9, SPY=102.0)
    desk.step(SPY=103.0)
    desk.step(2, SPY=104.0)
    desk.step(2, SPY=107.0)
    desk.check()
    assert desk.trades() == [(17, "SPY", 100.0, 103.0), (20, "SPY", -100.0, 107.0)]


def test_a_stretched_ratio_is_traded_until_it_crosses_its_mean() -> None:
    """KO rises while PEP stays: KO is sold and PEP bought, 40 percent of the equity each."""
    desk = TradingDesk(load("pairs", "Pairs"))
    for number in range(70):
        desk.step(KO=60.0 + 0.1 * (number % 2), PEP=170.0)
    desk.step(KO=61.0, PEP=170.0)
    desk.step(KO=60.5, PEP=170.0)
    desk.step(2, KO=59.0, PEP=170.0)
    desk.check()
    entries, exits = desk.trades()[:2], desk.trades()[2:]
    assert entries == [(72, "KO", -655.0, 60.5), (72, "PEP", 235.0, 170.0)], "40,000 / 61 and / 170, rounded down"
    assert [(symbol, quantity) for _, symbol, quantity, _ in exits] == [("KO", 655.0), ("PEP", -235.0)]


def test_the_how_to_shows_the_example() -> None:
    page, example = EXAMPLES.parent / "howto" / "trading-strategy.md", EXAMPLES / "pairs.py"
    shown = page.read_text().partition("```python\n")[2].partition("```")[0]
    assert shown.strip() == example.read_text().partition("\n\n")[2].strip(), "the file without its docstring"
