"""Strategies, a view strategy and a person act at random: the books of all services agree after every time slice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.random_actions import ACTIONS, DISTRIBUTIONS, ENDINGS
from tests.unit.random_desk import RandomDesk

THIRDS, MERGERS = ("STOCK_MERGER", "THIRD"), ("STOCK_MERGER", "MIXED_MERGER")
BUSY: dict[str, Any] = {"often": True, "removals": True}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_books_agree_after_every_time_slice(seed: int) -> None:
    """Quantity, cash, fees, equity and P&L, for any orders, targets, halts, suspensions and manual trades."""
    RandomDesk(seed, 25, actions=()).run()


@pytest.mark.parametrize("action", ["SPLIT", "REVERSE", "CASH_DIVIDEND", "SPIN_OFF", "SYMBOL_CHANGE"])
def test_the_books_agree_through_corporate_actions(action: str) -> None:
    RandomDesk(201, 25, actions=(action,)).run()


@pytest.mark.parametrize("seed", range(400, 430))
def test_the_books_agree_through_mergers_delistings_removals_and_margin_calls(seed: int) -> None:
    """Strategies leave the settings and return. Some desks are restored from a snapshot in every time slice."""
    RandomDesk(
        seed, 14, actions=(*ACTIONS, *ENDINGS), removals=True, margin=seed % 2 == 0, restore=seed % 10 == 0, often=True
    ).run()


@pytest.mark.parametrize("seed", range(600, 620))
def test_the_books_agree_through_distributions_of_a_share_that_is_held(seed: int) -> None:
    """Stock dividends, rights, and spin-offs of the other symbol, in which positions can be opposite."""
    actions = DISTRIBUTIONS if seed % 2 else (*ACTIONS, *ENDINGS, *DISTRIBUTIONS)
    RandomDesk(seed, 25, actions=actions, removals=True, restore=seed % 10 == 0, often=True).run()


@pytest.mark.parametrize("seed", range(700, 716))
def test_the_books_agree_while_strategies_trade_distributed_shares(seed: int) -> None:
    """Distributed shares are renamed, split and merged too. The view strategy has limits, and thus a sub-account."""
    actions = ("SPIN_OFF", "SYMBOL_CHANGE", *DISTRIBUTIONS) if seed % 2 else (*ACTIONS, *ENDINGS, *DISTRIBUTIONS)
    desk = RandomDesk(seed, 25, actions=actions, restore=seed % 4 == 0, often=True, distributed=True)
    desk.run()


@pytest.mark.parametrize(
    ("seed", "minutes", "options"),
    [
        pytest.param(43, 26, {"actions": (), "errors": False}, id="a person trades against the order of a view"),
        pytest.param(223, 39, {"actions": ("SYMBOL_CHANGE",)}, id="a symbol is renamed while the account is flat"),
        pytest.param(213, 18, {"actions": ("REVERSE",)}, id="a split closes the account beside opposite strategies"),
        pytest.param(319, 60, {}, id="the fraction of a split belongs to the manual position"),
        pytest.param(0, 30, {"actions": ("THIRD",)}, id="thirds of shares sum to one unit of the last decimal less"),
        pytest.param(4, 30, {"actions": ("THIRD",)}, id="a trade in thirds of shares ends next to the end of a lot"),
        pytest.param(1, 30, {"actions": ("STOCK_MERGER",)}, id="the acquirer has an open proposal"),
        pytest.param(2, 30, {"actions": ("STOCK_MERGER",)}, id="a strategy is long one and short the other company"),
        pytest.param(3, 30, {"actions": ("MIXED_MERGER",)}, id="a merger for stock and cash"),
        pytest.param(101, 60, {"actions": (*ACTIONS, *ENDINGS), "removals": True}, id="a removed strategy has shares"),
        pytest.param(5025, 30, {"actions": THIRDS}, id="an exit leaves a strategy less than a millionth of a unit"),
        pytest.param(5117, 30, {"actions": MERGERS}, id="a fraction is sold for what the account receives"),
        pytest.param(5025, 80, {"actions": THIRDS, **BUSY}, id="a split leaves a strategy too little to trade"),
        pytest.param(5025, 50, {"actions": THIRDS, **BUSY}, id="the venue liquidates the account"),
    ],
)
def test_the_books_agree_in_cases_in_which_they_once_did_not(seed: int, minutes: int, options: dict[str, Any]) -> None:
    RandomDesk(seed, minutes, **options).run()


def test_a_restart_in_every_time_slice_changes_no_book() -> None:
    options: dict[str, Any] = {"actions": (*ACTIONS, *ENDINGS), "removals": True, "margin": True, "often": True}
    desk, restarted = RandomDesk(5, 12, **options), RandomDesk(5, 12, **options, restore=True)
    desk.run()
    restarted.run()
    assert restarted.desk.records == desk.desk.records


def test_a_restart_in_every_time_slice_changes_no_book_of_distributed_shares() -> None:
    options: dict[str, Any] = {"actions": ("SPIN_OFF", "SYMBOL_CHANGE", *DISTRIBUTIONS), "often": True}
    desk, restarted = (RandomDesk(11, 20, **options, distributed=True, restore=one) for one in (False, True))
    desk.run()
    restarted.run()
    assert restarted.desk.records == desk.desk.records


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1100))
def test_the_books_agree_for_many_seeds(seed: int) -> None:
    RandomDesk(seed, 60, restore=seed % 10 == 0).run()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2000, 2100))
def test_the_books_agree_for_many_seeds_with_mergers_removals_and_margin_calls(seed: int) -> None:
    actions = (*ACTIONS, *ENDINGS)
    RandomDesk(seed, 60, actions=actions, removals=True, margin=seed % 2 == 0, restore=seed % 10 == 0).run()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3000, 3100))
def test_the_books_agree_for_many_seeds_with_distributions(seed: int) -> None:
    actions = (*ACTIONS, *ENDINGS, *DISTRIBUTIONS) if seed % 2 else DISTRIBUTIONS
    options: dict[str, Any] = {"removals": seed % 3 != 0, "margin": seed % 4 == 0, "restore": seed % 10 == 0}
    RandomDesk(seed, 60, actions=actions, **options).run()
