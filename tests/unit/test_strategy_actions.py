"""Actions of trading strategies: risk checks their orders, the portfolio trades their targets, fills belong to them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from operators.feedback import FeedbackSettings, FeedbackStage
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.portfolio.requested_targets import RequestedTarget
from operators.portfolio.targets import Target, Targets
from operators.risk import RiskSettings, RiskStage
from operators.sizing import SizingSettings
from operators.trading_loop import LearningLoop, TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    NOTE,
    SELL,
    SUBMIT_ORDER,
    TARGET_QUANTITY,
    TARGET_VIEW,
    TARGET_WEIGHT,
    TRADE,
    Attribution,
    Bar,
    Execution,
    InternalCross,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Position,
    Record,
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
    strategy_action,
)
from tests.builders.market import MINUTE_NS
from tests.scripted_strategies import ScriptedStrategies

D = Decimal
UNLIMITED = RiskSettings.unlimited(max_order_notional=D(50_000))
SIZED = PortfolioSettings(
    sizing=SizingSettings(method="fixed_quantity", quantity=D(100)),
    max_position_percentage=D(1),
    allow_short=True,
    trading_strategies=("pairs", "other"),
)


class IdleStage:
    """A stage that returns no records."""

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return []

    def snapshot(self) -> Any:
        return None

    def restore(self, snapshot: Any) -> None:
        pass


class FixedStage(IdleStage):
    """A stage that returns the same record in every time slice."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return [self._record]


class Desk:
    """The trading loop with a script of actions, and the feedback stage, over one-minute bars of X, at 100 or as given.

    `script` maps a time slice, from 1, to its actions. Orders reach the venue in the next slice and fill at its open.
    """

    def __init__(self, script: Mapping[int, Sequence[StrategyAction]], portfolio: PortfolioSettings = SIZED) -> None:
        self.strategies = ScriptedStrategies(script)
        venue, risk = VenueStage(VenueSettings()), RiskStage(UNLIMITED)
        self.loop = TradingLoop(venue, PortfolioStage(portfolio), risk, self.strategies)
        self.feedback = FeedbackStage(FeedbackSettings(attribution_interval_s=60, weights_interval_s=0))
        self.minute = 0
        self.records: list[Any] = []
        self.output: list[Any] = []

    def step(self, *records: Record, price: float = 100.0, open: float | None = None) -> list[Any]:
        self.minute += 1
        ts_ns = self.minute * MINUTE_NS
        inputs = [bar("X", self.minute, ts_ns, price, open=open), *records]
        self.output = self.loop.on_slice(ts_ns, inputs)
        self.records += self.output
        bars: list[Record] = [record for record in inputs if type(record) is Bar]
        actions = [record for record in self.output if type(record) is StrategyAction]
        others = [record for record in self.output if type(record) is not StrategyAction]
        self.records += self.feedback.on_slice(ts_ns, [*bars, *actions, *others])
        return self.output

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if type(record) is kind]

    @property
    def position(self) -> int:
        positions = self.of(Position)
        return int(positions[-1].quantity) if positions else 0

    @property
    def trades(self) -> list[tuple[str, str, int]]:
        return [(r.order_id, r.side, int(r.quantity)) for r in self.of(Execution) if r.exec_type == TRADE]

    def attributed(self) -> dict[str, Attribution]:
        return {row.strategy: row for row in self.of(Attribution)}


def submit(number: int = 1, strategy: str = "pairs", symbol: str = "X", **arguments: Any) -> StrategyAction:
    terms: dict[str, Any] = {"symbol": symbol, "side": "BUY", "quantity": 100} | arguments
    return strategy_action(SUBMIT_ORDER, symbol, number=number, strategy=strategy, **terms)


def target(quantity: int, number: int = 1, strategy: str = "pairs", seq: int | None = None) -> StrategyAction:
    return strategy_action(TARGET_QUANTITY, "X", number=number, seq=seq, strategy=strategy, quantity=quantity)


def amend(order_id: str, number: int = 2, strategy: str = "pairs", **arguments: Any) -> StrategyAction:
    return strategy_action(AMEND_ORDER, "X", number=number, strategy=strategy, order_id=order_id, **arguments)


def cancel(order_id: str, number: int = 2, strategy: str = "pairs", **fields: Any) -> StrategyAction:
    return strategy_action(CANCEL_ORDER, "X", number=number, strategy=strategy, order_id=order_id, **fields)


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


# -- targets -----------------------------------------------------------------------------------------------------------


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
