"""Targets of trading strategies: the portfolio trades to them, and the fills have one owner."""

from __future__ import annotations

from dataclasses import replace

import pytest

from operators.portfolio import PortfolioSettings
from operators.portfolio.requested_targets import RequestedTarget
from operators.portfolio.targets import Target, Targets
from operators.sizing import SizingSettings
from schemas.records import (
    NOTE,
    SELL,
    TARGET_QUANTITY,
    TARGET_VIEW,
    TARGET_WEIGHT,
    InternalCross,
    OrderProposal,
    StrategyAction,
)
from tests.builders import (
    strategy_action,
)
from tests.unit.action_desk import SIZED, D, Desk, submit, target


def test_a_target_quantity_is_traded_to_and_names_its_action_as_the_cause() -> None:
    desk = Desk({1: [target(250, 1)], 3: [target(-50, 2)]})
    for _ in range(5):
        desk.step()
    first, second = desk.of(OrderProposal)
    assert (first.strategy, first.signal_ids, first.terms.quantity) == ("pairs", ["act-pairs-1"], 250)
    assert (second.signal_ids, second.terms.side, second.terms.quantity) == (["act-pairs-2"], SELL, 300)
    assert desk.position == -50


def test_a_target_weight_is_a_share_of_the_strategys_equity_rounded_to_lots() -> None:
    """0.3 of 0.5 of 1,000,000 at 700 are 214.28 units, sold in lots of 10."""
    sizing = SizingSettings(lot_size=D(10))
    portfolio = PortfolioSettings(
        sizing=sizing, max_position_percentage=D(1), allow_short=True, capital={"pairs": D("0.5")}
    )
    desk = Desk({1: [strategy_action(TARGET_WEIGHT, "X", strategy="pairs", weight="-0.3")]}, portfolio)
    desk.step(price=700.0)
    (proposal,) = desk.of(OrderProposal)
    assert (proposal.terms.side, proposal.terms.quantity) == (SELL, 210)
    assert proposal.sizing == "weight -0.3 x equity 500000 / 700 = 210"


def test_a_target_view_is_sized_like_a_signal() -> None:
    desk = Desk({1: [strategy_action(TARGET_VIEW, "X", strategy="pairs", direction=-1, strength="0.5")]})
    desk.step()
    (proposal,) = desk.of(OrderProposal)
    assert (proposal.terms.side, proposal.terms.quantity) == (SELL, 100), "the fixed quantity of the settings"


def test_no_short_position_is_opened_where_the_settings_forbid_it() -> None:
    portfolio = replace(SIZED, allow_short=False)
    desk = Desk({1: [target(100)], 3: [target(-100, 2)]}, portfolio)
    for _ in range(4):
        desk.step()
    assert desk.position == 0
    assert desk.of(OrderProposal)[-1].sizing == "quantity -100; no short positions"


def test_a_target_is_capped_like_a_view() -> None:
    portfolio = PortfolioSettings(max_position_percentage=D("0.01"))
    desk = Desk({1: [target(5000)]}, portfolio)
    desk.step()
    (proposal,) = desk.of(OrderProposal)
    assert proposal.terms.quantity == 100, "1 % of 1,000,000 at 100"


def test_targets_of_one_direction_are_traded_one_after_the_other_so_that_fills_have_one_owner() -> None:
    desk = Desk({1: [target(-100, 1, "other", seq=1), target(-300, 1, "pairs", seq=2)]})
    for _ in range(5):
        desk.step()
    assert [(p.strategy, p.terms.side, int(p.terms.quantity)) for p in desk.of(OrderProposal)] == [
        ("other", SELL, 100),
        ("pairs", SELL, 300),
    ]
    assert desk.position == -400
    # After a rise to 110, the short 100 lost 1,000 and the short 300 lost 3,000. A unit costs a slippage of 0.01.
    desk.step(price=110.0)
    gains = {name: row.unrealized_pnl + row.realized_pnl for name, row in desk.attributed().items()}
    assert gains == {"other": -1001, "pairs": -3003}


def test_opposite_targets_trade_with_each_other_and_their_difference_by_an_order() -> None:
    desk = Desk({1: [target(100, 1, "other", seq=1), target(-300, 1, "pairs", seq=2)]})
    for _ in range(5):
        desk.step()
    assert [(p.strategy, p.terms.side, int(p.terms.quantity), p.changes) for p in desk.of(OrderProposal)] == [
        ("other+pairs", SELL, 200, {"other": "100", "pairs": "-300"})
    ]
    assert [(one.buyer, one.seller, one.quantity, one.price) for one in desk.of(InternalCross)] == [
        ("other", "pairs", 100, D("99.99"))
    ], "at the price of the fill"
    assert desk.position == -200
    desk.step(price=110.0)
    gains = {name: row.unrealized_pnl + row.realized_pnl for name, row in desk.attributed().items()}
    assert gains == {"other": 1001, "pairs": -3003}
    fees = {name: row.fees for name, row in desk.attributed().items()}
    assert not fees["other"] and fees["pairs"] > 0, "a cross has no fee"


def test_an_order_that_crosses_the_position_of_another_strategy_opens_its_own() -> None:
    """The account is flat, one strategy long and the other short."""
    desk = Desk({1: [target(100, 1, "other")], 3: [submit(1, side="SELL")]})
    for _ in range(5):
        desk.step()
    assert desk.position == 0
    desk.step(price=110.0)
    gains = {name: row.unrealized_pnl + row.realized_pnl for name, row in desk.attributed().items()}
    assert gains == {"other": 999, "pairs": -1001}, "without a position, the account pays the two fees of 1"
    assert [p.strategy for p in desk.of(OrderProposal)] == ["other"], "the portfolio does not buy the 100 back"


def test_a_target_that_waits_for_the_orders_of_a_symbol_is_traded_after_them() -> None:
    desk = Desk({1: [target(100, 1)], 2: [target(150, 2)]})
    for _ in range(4):
        desk.step()
    assert [int(p.terms.quantity) for p in desk.of(OrderProposal)] == [100, 50]


def test_a_target_that_waits_is_split_with_its_shares() -> None:
    targets = Targets({"X": {"pairs": Target(0, 0.0, 100.0, "act-pairs-1", D(100), (TARGET_QUANTITY, D(150)))}})
    targets.split("X", D(2), whole_units=False)
    waiting = targets["X"]["pairs"]
    assert waiting.quantity == 200
    assert waiting.requested == RequestedTarget(TARGET_QUANTITY, D(300))
    assert Target(*waiting.as_tuple()).as_tuple() == waiting.as_tuple()


@pytest.mark.parametrize(
    "action",
    [
        strategy_action(TARGET_QUANTITY, "X", quantity="NaN"),
        strategy_action(TARGET_WEIGHT, "X", weight="1e1"),
        strategy_action(TARGET_VIEW, "X", direction=2, strength=1),
        strategy_action(TARGET_VIEW, "X", direction=1, strength="1.5"),
        strategy_action(NOTE, "X", quantity=5),
    ],
)
def test_a_target_without_a_valid_number_changes_nothing(action: StrategyAction) -> None:
    desk = Desk({1: [action]})
    desk.step()
    desk.step()
    assert desk.of(OrderProposal) == []
