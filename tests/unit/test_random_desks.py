"""Strategies, a view strategy and a person act at random: the books of all services agree after every time slice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.random_desk import RandomDesk


@pytest.mark.parametrize("seed", [0, 1])
def test_the_books_agree_after_every_time_slice(seed: int) -> None:
    """Quantity, cash, fees, equity and P&L, for any orders, targets, halts, suspensions and manual trades."""
    RandomDesk(seed, 25, actions=()).run()


@pytest.mark.parametrize("action", ["SPLIT", "REVERSE", "CASH_DIVIDEND", "SPIN_OFF", "SYMBOL_CHANGE"])
def test_the_books_agree_through_corporate_actions(action: str) -> None:
    RandomDesk(201, 25, actions=(action,)).run()


@pytest.mark.parametrize(
    ("seed", "minutes", "options"),
    [
        pytest.param(43, 26, {"actions": (), "errors": False}, id="a person trades against the order of a view"),
        pytest.param(223, 39, {"actions": ("SYMBOL_CHANGE",)}, id="a symbol is renamed while the account is flat"),
        pytest.param(213, 18, {"actions": ("REVERSE",)}, id="a split closes the account beside opposite strategies"),
        pytest.param(319, 60, {}, id="the fraction of a split belongs to the manual position"),
    ],
)
def test_the_books_agree_in_cases_in_which_they_once_did_not(seed: int, minutes: int, options: dict[str, Any]) -> None:
    RandomDesk(seed, minutes, **options).run()


def test_a_restart_in_every_time_slice_changes_no_book() -> None:
    desk, restarted = RandomDesk(5, 12), RandomDesk(5, 12, restore=True)
    desk.run()
    restarted.run()
    assert restarted.desk.records == desk.desk.records


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1100))
def test_the_books_agree_for_many_seeds(seed: int) -> None:
    RandomDesk(seed, 60, restore=seed % 10 == 0).run()
