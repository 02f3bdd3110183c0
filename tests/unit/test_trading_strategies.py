"""Trading strategies in their stage: what they see, what they do, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from operators.strategies import TradingStrategy
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.records import (
    AMEND_ORDER,
    BUY,
    CANCEL_ORDER,
    NEW,
    NOTE,
    SELL,
    SUBMIT_ORDER,
    TARGET_QUANTITY,
    TARGET_VIEW,
    TARGET_WEIGHT,
    TRADE,
    StrategyAction,
)
from tests.builders import bar, feature_row, order, report

MINUTE_NS = 60 * 10**9


def run(strategy: TradingStrategy, slices: list[list[Any]], **settings: Any) -> list[StrategyAction]:
    """Run a strategy over time slices of one minute each, and return its actions."""
    stage = TradingStrategyStage([strategy], TradingSettings(**settings))
    actions: list[StrategyAction] = []
    for number, records in enumerate(slices, start=1):
        published = stage.on_slice(number * MINUTE_NS, records)
        actions += [record for record in published if type(record) is StrategyAction]
    return actions


def bars(number: int, *symbols: str, close: float = 100.0) -> list[Any]:
    """Build the bar of each symbol that ends at the minute `number`."""
    return [bar(symbol, number, number * MINUTE_NS, close) for symbol in symbols]


class Acting(TradingStrategy):
    """Call a function of the test in the first time slice."""

    symbols = ("KO", "PEP")

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_slice(self, ctx: Any) -> None:
        if not ctx.state:
            ctx.state["acted"] = True
            self.act(ctx)


def first_action(act: Any) -> StrategyAction:
    actions = run(Acting(act), [bars(1, "KO", "PEP")])
    assert len(actions) == 1, "the strategy acts once"
    return actions[0]


@pytest.mark.parametrize(
    ("act", "kind", "symbol", "arguments"),
    [
        (lambda ctx: ctx.target_weight("KO", -0.5), TARGET_WEIGHT, "KO", {"weight": "-0.5"}),
        (lambda ctx: ctx.target_quantity("KO", 12.5), TARGET_QUANTITY, "KO", {"quantity": "12.5"}),
        (lambda ctx: ctx.target_view("PEP", -1, 0.25), TARGET_VIEW, "PEP", {"direction": "-1", "strength": "0.25"}),
        (lambda ctx: ctx.close("KO"), TARGET_QUANTITY, "KO", {"quantity": "0"}),
        (lambda ctx: ctx.note("too\0  calm"), NOTE, "", {"text": "too calm"}),
    ],
)
def test_each_target_and_note_becomes_one_action(act: Any, kind: str, symbol: str, arguments: dict[str, str]) -> None:
    action = first_action(act)
    assert (action.kind, action.symbol, action.arguments) == (kind, symbol, arguments)
    assert (action.action_id, action.strategy, action.seq) == ("act-acting-1", "acting", 1)


def test_a_bracket_has_the_arguments_of_a_manual_order() -> None:
    action = first_action(
        lambda ctx: ctx.submit("KO", "buy", 10, limit_price=99.5, take_profit=110, stop_loss=90.25, tag="entry")
    )
    assert action.kind == SUBMIT_ORDER
    assert action.reason == "entry"
    assert action.arguments == {
        "symbol": "KO",
        "side": BUY,
        "quantity": "10",
        "order_type": "LIMIT",
        "time_in_force": "DAY",
        "limit_price": "99.5",
        "take_profit_price": "110",
        "stop_loss_price": "90.25",
    }


def test_an_action_names_the_feature_row_of_its_symbol_as_its_cause() -> None:
    records = [*bars(1, "KO"), feature_row("KO", 7, MINUTE_NS)]
    (action,) = run(Acting(lambda ctx: ctx.target_weight("KO", 1.0)), [records])
    assert action.cause_ids == ["feat-KO-7"]


class RoundTrip(TradingStrategy):
    """Buy once, and sell what was bought with the fill."""

    symbols = ("KO",)

    def on_slice(self, ctx: Any) -> None:
        if not ctx.state:
            ctx.state["entry"] = ctx.submit("KO", BUY, 10)

    def on_fill(self, ctx: Any, fill: Any) -> None:
        ctx.note(f"{fill.order_id} {fill.quantity} {ctx.position('KO')} {ctx.entry_price('KO')} {ctx.cash}")
        if fill.side == BUY:
            ctx.submit("KO", SELL, ctx.position("KO"))


def test_a_fill_reaches_the_position_before_the_handler() -> None:
    entry = order(1, BUY, 10, "KO", order_id="ord-act-round_trip-1", cause_id="act-round_trip-1")
    slices = [bars(1, "KO"), [entry, report(1, entry, NEW), report(2, entry, TRADE, 10, 101, fee=1), *bars(2, "KO")]]
    submitted, note, sold = run(RoundTrip(), slices, initial_capital=1000)
    assert submitted.action_id == "act-round_trip-1"
    assert note.arguments["text"] == "ord-act-round_trip-1 10.0 10.0 101.0 -11.0"  # 1000 - 10 * 101 - 1
    assert (sold.kind, sold.arguments["side"], sold.cause_ids) == (SUBMIT_ORDER, SELL, ["exe-2"])


class Amending(TradingStrategy):
    """Submit a limit order, amend it in the second time slice, and cancel all orders in the third."""

    symbols = ("KO",)

    def on_slice(self, ctx: Any) -> None:
        step = ctx.state["step"] = ctx.state.get("step", 0) + 1
        if step == 1:
            ctx.state["id"] = ctx.submit("KO", BUY, 10, limit_price=90)
        elif step == 2:
            ctx.amend(ctx.state["id"], limit_price=91)
        elif step == 3:
            ctx.cancel()


def test_amendments_and_cancels_name_the_order() -> None:
    actions = run(Amending(), [bars(number, "KO") for number in (1, 2, 3)])
    assert [(action.kind, action.arguments) for action in actions[1:]] == [
        (AMEND_ORDER, {"order_id": "ord-act-amending-1", "limit_price": "91"}),
        (CANCEL_ORDER, {"order_id": "ord-act-amending-1"}),
    ]


def test_without_strategies_the_stage_publishes_nothing() -> None:
    assert TradingStrategyStage([]).on_slice(MINUTE_NS, bars(1, "KO")) == []
