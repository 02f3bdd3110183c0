"""Strategies, a view strategy and a person act at random: the books of all services agree after every time slice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.random_desk import ACTIONS, ENDINGS, RandomDesk


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


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1100))
def test_the_books_agree_for_many_seeds(seed: int) -> None:
    RandomDesk(seed, 60, restore=seed % 10 == 0).run()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2000, 2100))
def test_the_books_agree_for_many_seeds_with_mergers_removals_and_margin_calls(seed: int) -> None:
    actions = (*ACTIONS, *ENDINGS)
    RandomDesk(seed, 60, actions=actions, removals=True, margin=seed % 2 == 0, restore=seed % 10 == 0).run()
