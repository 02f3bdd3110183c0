"""Actions of trading strategies: risk checks their orders, fills belong to them, and a restart changes nothing."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from operators.portfolio import PortfolioStage
from operators.risk import RiskStage
from operators.trading_loop import LearningLoop, TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    SELL,
    SUBMIT_ORDER,
    Attribution,
    Bar,
    Execution,
    InternalCross,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    StrategyAction,
)
from schemas.records.flat import to_flat
from tests.builders import (
    bar,
    command,
    feature_row,
    prediction,
    sentiment_score,
    signal,
)
from tests.builders.market import MINUTE_NS
from tests.scripted_strategies import ScriptedStrategies
from tests.unit.action_desk import SIZED, UNLIMITED, D, Desk, FixedStage, IdleStage, amend, cancel, submit, target

# -- orders ------------------------------------------------------------------------------------------------------------


def test_an_order_has_the_id_of_its_action_and_its_fill_is_neither_repeated_nor_reversed() -> None:
    desk = Desk({1: [submit(7)]})
    for _ in range(5):
        desk.step()
    (order,) = desk.of(Order)
    assert (order.order_id, order.cause_id) == ("ord-act-pairs-7", "act-pairs-7")
    assert desk.trades == [("ord-act-pairs-7", "BUY", 100)]
    assert desk.of(OrderProposal) == [], "the target of the strategy follows its own fill"


def test_a_view_of_another_strategy_is_added_to_the_position_of_an_order() -> None:
    """The target of `pairs` is its own 100 units, that of `trend` 100 more."""
    desk = Desk({1: [submit()]})
    desk.step()
    desk.step()
    desk.step(signal("X", 1, 3 * MINUTE_NS, strategy="trend"))
    desk.step()
    assert desk.position == 200
    desk.step(signal("X", 2, 5 * MINUTE_NS, direction=0, strategy="trend"))
    desk.step()
    assert desk.position == 100, "the exit of trend leaves the units of pairs"


def test_a_bracket_takes_its_profit_and_cancels_its_stop() -> None:
    desk = Desk({1: [submit(take_profit_price=104, stop_loss_price=97)]})
    desk.step()
    desk.step()
    desk.step(price=105.0, open=100.0)
    desk.step(price=105.0)
    assert [order.order_id for order in desk.of(Order)] == [
        "ord-act-pairs-1",
        "ord-act-pairs-1-tp",
        "ord-act-pairs-1-sl",
    ]
    assert desk.trades == [("ord-act-pairs-1", "BUY", 100), ("ord-act-pairs-1-tp", SELL, 100)]
    assert desk.position == 0
    assert desk.of(OrderProposal) == []
    assert {row.strategy for row in desk.of(Attribution)} == {"pairs"}, "the exits belong to the strategy too"


def test_a_strategy_amends_and_cancels_its_order() -> None:
    desk = Desk(
        {
            1: [submit(order_type="LIMIT", limit_price=90, time_in_force="GTC")],
            3: [amend("ord-act-pairs-1", limit_price=91)],
            5: [cancel("ord-act-pairs-1", 3)],
        }
    )
    for _ in range(7):
        desk.step()
    first, second = desk.of(Order)
    assert (second.order_id, second.replaces, second.terms.limit_price) == (
        "ord-act-pairs-2",
        first.order_id,
        D(91),
    )
    (cancelled,) = desk.of(OrderCancel)
    assert (cancelled.order_id, cancelled.cause_id) == ("ord-act-pairs-2", "act-pairs-3"), "the successor is cancelled"
    assert desk.of(OrderRefusal) == []


@pytest.mark.parametrize("request_", [cancel("ord-act-pairs-1", 1, "other"), amend("ord-act-pairs-1", 1, "other")])
def test_a_strategy_cannot_change_the_order_of_another(request_: StrategyAction) -> None:
    desk = Desk({1: [submit(order_type="LIMIT", limit_price=90, time_in_force="GTC")], 3: [request_]})
    for _ in range(4):
        desk.step()
    (refusal,) = desk.of(OrderRefusal)
    assert (refusal.cause_id, refusal.check, refusal.limit) == ("act-other-1", "open_order", "an order of other")
    assert "ord-act-pairs-1 is not an order of other" in refusal.message
    assert desk.of(OrderCancel) == []
    assert len(desk.of(Order)) == 1


def test_a_strategy_cannot_cancel_a_manual_order() -> None:
    arguments = {"symbol": "X", "side": "BUY", "quantity": "1", "order_type": "LIMIT", "limit_price": "90"}
    desk = Desk({3: [cancel("ord-cmd-1", 1)]})
    desk.step(command("cmd-1", kind=SUBMIT_ORDER, arguments=arguments))
    for _ in range(3):
        desk.step()
    assert [refusal.check for refusal in desk.of(OrderRefusal)] == ["open_order"]
    assert desk.of(OrderCancel) == []


def test_the_cancel_of_an_unknown_order_is_answered() -> None:
    """A strategy must learn that nothing was cancelled."""
    desk = Desk({1: [cancel("ord-act-pairs-99", 1)]})
    desk.step()
    (refusal,) = desk.of(OrderRefusal)
    assert (refusal.cause_id, refusal.check) == ("act-pairs-1", "open_order")


@pytest.mark.parametrize(
    ("arguments", "check"),
    [
        ({"quantity": "1e9"}, "order_terms"),
        ({"quantity": "NaN"}, "order_terms"),
        ({"side": "HOLD"}, "order_terms"),
        ({"quantity": 501}, "max_order_notional"),
    ],
)
def test_risk_checks_the_orders_of_strategies(arguments: dict[str, Any], check: str) -> None:
    """501 units at 100 exceed the limit of 50,000 on one order."""
    desk = Desk({1: [submit(**arguments)]})
    desk.step()
    desk.step()
    (refusal,) = desk.of(OrderRefusal)
    assert (refusal.cause_id, refusal.check) == ("act-pairs-1", check)
    assert desk.of(Order) == []


def test_a_command_cannot_take_the_id_of_an_action() -> None:
    """Its fills would belong to the strategy."""
    arguments = {"symbol": "X", "side": "BUY", "quantity": "1"}
    desk = Desk({})
    desk.step(command("act-pairs-1", kind=SUBMIT_ORDER, arguments=arguments))
    (refusal,) = desk.of(OrderRefusal)
    assert (refusal.check, desk.of(Order)) == ("order_terms", [])


def test_orders_refusals_and_proposals_reach_the_strategies_one_slice_later_and_fills_at_once() -> None:
    desk = Desk({1: [submit(), submit(2, quantity=501), target(200, 3)]})
    desk.step()
    desk.step()
    received = [type(record) for record in desk.strategies.inputs[1]]
    assert received[:4] == [OrderRefusal, Order, Order, OrderProposal]
    assert received.count(Execution) == 4, "of both orders, accepted and filled in this slice"
    assert received[-1] is Bar


# -- state -------------------------------------------------------------------------------------------------------------

SCRIPT = {
    1: [submit(1, quantity=50, take_profit_price=104, stop_loss_price=97, time_in_force="GTC")],
    2: [target(120, 2), target(-40, 1, "other", seq=3)],
    3: [submit(4, order_type="LIMIT", limit_price=90, time_in_force="GTC")],
    5: [amend("ord-act-pairs-4", 5, limit_price=99), target(60, 6)],
    7: [cancel("ord-act-pairs-5", 7), target(0, 2, "other", seq=9)],
    8: [submit(3, "other", quantity=501)],
}
PRICES = [100, 100, 101, 102, 101, 105, 103, 103, 96, 96, 97]


def test_a_loop_restored_at_any_slice_makes_the_same_records() -> None:
    uninterrupted = Desk(SCRIPT)
    for price in PRICES:
        uninterrupted.step(price=price)
    assert len(uninterrupted.trades) + len(uninterrupted.of(InternalCross)) >= 6, "the script trades"
    assert uninterrupted.of(InternalCross)
    for slices in range(1, len(PRICES)):
        first, second = Desk(SCRIPT), Desk(SCRIPT)
        for price in PRICES[:slices]:
            first.step(price=price)
        second.loop.restore(pickle.loads(pickle.dumps(first.loop.snapshot())))  # noqa: S301  (written above)
        second.feedback.restore(pickle.loads(pickle.dumps(first.feedback.snapshot())))  # noqa: S301  (written above)
        second.minute = first.minute
        for price in PRICES[slices:]:
            second.step(price=price)
        assert [*map(to_flat, first.records), *map(to_flat, second.records)] == list(
            map(to_flat, uninterrupted.records)
        ), f"restored after slice {slices}"


def test_a_loop_without_strategies_writes_the_layout_of_earlier_releases() -> None:
    """Its state is restored by a loop whose settings have a new trading strategy."""
    stages = (VenueStage(VenueSettings()), PortfolioStage(SIZED), RiskStage(UNLIMITED))
    before = TradingLoop(*stages)
    before.on_slice(MINUTE_NS, [bar("X", 1, MINUTE_NS), signal("X", 1, MINUTE_NS, strategy="trend")])
    desk = Desk({1: [target(10)]})
    desk.loop.restore(before.snapshot())
    desk.minute = 1
    assert before.snapshot()[0] == 1
    desk.step()
    assert [type(record) for record in desk.strategies.inputs[0][:1]] == [Order]


def test_the_analysis_and_the_scores_of_the_slice_reach_the_strategies_after_the_bars() -> None:
    strategies = ScriptedStrategies({})
    loop = TradingLoop(VenueStage(VenueSettings()), PortfolioStage(SIZED), RiskStage(UNLIMITED), strategies)
    score = sentiment_score(1, MINUTE_NS, "X")
    learning = LearningLoop(FixedStage(score), IdleStage(), loop, IdleStage())
    x_bar, row, forecast = bar("X", 1, MINUTE_NS), feature_row("X", 1, MINUTE_NS), prediction("X", 1, MINUTE_NS)
    learning.on_slice(MINUTE_NS, [forecast, row, x_bar])
    assert strategies.inputs == [[x_bar, row, forecast, score]]
