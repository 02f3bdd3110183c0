"""What a trading strategy may submit: order types, invalid actions, and actions during warm-up."""

from __future__ import annotations

from decimal import Decimal
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from operators.manual_orders import ARGUMENTS
from schemas.records import (
    BUY,
    SELL,
    SUBMIT_ORDER,
    SUSPENDED,
)
from tests.unit.trading_harness import Scripted, bars, feed, minute, run, stage_of


@pytest.mark.parametrize(
    ("terms", "order_type", "prices"),
    [
        ({}, "MARKET", {}),
        ({"limit_price": 99}, "LIMIT", {"limit_price": "99"}),
        ({"stop_price": 101}, "STOP", {"stop_price": "101"}),
        ({"limit_price": 102, "stop_price": 101}, "STOP_LIMIT", {"limit_price": "102", "stop_price": "101"}),
        ({"trail_amount": 1.5}, "TRAILING_STOP", {"trail_amount": "1.5"}),
        ({"trail_percent": np.float64(2)}, "TRAILING_STOP", {"trail_percent": "2"}),
        ({"time_in_force": "OPG"}, "MARKET", {"time_in_force": "OPG"}),
        ({"time_in_force": "GTD", "expires": 10**18}, "MARKET", {"time_in_force": "GTD", "expires_ns": str(10**18)}),
        ({"reduce_only": True}, "MARKET", {"reduce_only": "true"}),
        ({"group": "exits"}, "MARKET", {"group_id": "scripted-exits"}),
        ({"stop_loss": 90, "stop_loss_limit": 89}, "MARKET", {"stop_loss_price": "90", "stop_loss_limit_price": "89"}),
    ],
)
def test_every_order_type_and_time_in_force_can_be_submitted(
    terms: dict[str, Any], order_type: str, prices: dict[str, str]
) -> None:
    (action,) = run(Scripted(lambda ctx, number: ctx.submit("KO", "sell", 5, **terms)), [bars(1, "KO")])
    assert action.kind == SUBMIT_ORDER
    expected = {"symbol": "KO", "side": SELL, "quantity": "5", "order_type": order_type, "time_in_force": "DAY"}
    assert action.arguments == expected | prices
    assert set(action.arguments) <= ARGUMENTS, "the arguments that risk accepts"


def test_a_child_order_names_the_action_of_its_parent() -> None:
    def act(ctx: Any, number: int) -> None:
        ctx.submit("KO", SELL, 1, limit_price=110, parent=ctx.submit("KO", BUY, 1))

    _, child = run(Scripted(act), [bars(1, "KO")])
    assert child.arguments["parent_id"] == "act-scripted-1"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda ctx: ctx.submit("KO", BUY, 0), "quantity must be above 0, found 0"),
        (lambda ctx: ctx.submit("KO", BUY, -5), "quantity must be above 0, found -5"),
        (lambda ctx: ctx.submit("KO", BUY, nan), "quantity must be a finite number, found nan"),
        (lambda ctx: ctx.submit("KO", BUY, 1e13), "quantity must be between -1000000000000 and 1000000000000"),
        (lambda ctx: ctx.submit("KO", BUY, "5"), "quantity must be a finite number, found '5'"),
        (lambda ctx: ctx.submit("KO", BUY, True), "quantity must be a finite number, found True"),
        (lambda ctx: ctx.submit("KO", BUY, 1, limit_price=inf), "limit_price must be a finite number, found inf"),
        (lambda ctx: ctx.submit("KO", BUY, 1, limit_price=-1), "limit_price must be above 0, found -1"),
        (lambda ctx: ctx.submit("KO", "LONG", 1), "side must be one of BUY, SELL, found 'LONG'"),
        (lambda ctx: ctx.submit("KO", BUY, 1, "MARKT"), "type must be one of MARKET, LIMIT"),
        (lambda ctx: ctx.submit("KO", BUY, 1, "STOP"), "stop_price must be set for an order of type STOP"),
        (lambda ctx: ctx.submit("KO", BUY, 1, "MARKET", limit_price=1), "limit_price must not be set"),
        (lambda ctx: ctx.submit("KO", BUY, 1, time_in_force="GTX"), "time_in_force must be one of DAY, GTC"),
        (lambda ctx: ctx.submit("KO", BUY, 1, time_in_force="GTD"), "expires must be set for the time in force GTD"),
        (lambda ctx: ctx.submit("AAPL", BUY, 1), "'AAPL' is not in the universe of strategy scripted"),
        (lambda ctx: ctx.submit("KO", BUY, 1, tag="\n"), "tag must be up to 64 printable ASCII characters"),
        (lambda ctx: ctx.submit("KO", BUY, 1, parent="ord-7"), "parent must be the id of an order of the strategy"),
        (lambda ctx: ctx.target_weight("KO", nan), "weight must be a finite number, found nan"),
        (lambda ctx: ctx.target_weight("KO", 101), "weight must be between -100 and 100, found 101"),
        (lambda ctx: ctx.target_quantity("KO", None), "quantity must be a finite number, found None"),
        (lambda ctx: ctx.target_view("KO", 2), "direction must be -1, 0 or 1"),
        (lambda ctx: ctx.target_view("KO", 1, 1.5), "strength in [0, 1], found 1 and 1.5"),
        (lambda ctx: ctx.amend("ord-act-scripted-1"), "amend must change at least one of quantity"),
        (lambda ctx: ctx.cancel("ord-7"), "order id must be that of an order of the strategy, found 'ord-7'"),
        (lambda ctx: ctx.cancel("ord-act-other-1"), "order id must be that of an order of the strategy"),
        (lambda ctx: ctx.amend("ord-act-scripted-9", quantity=1), "order id must be that of an order of the strategy"),
        (lambda ctx: ctx.submit("KO", BUY, Decimal("NaN")), "quantity must be a finite number"),
    ],
)
def test_an_invalid_action_suspends_the_strategy_and_yields_nothing(act: Any, message: str) -> None:
    def step(ctx: Any, number: int) -> None:
        ctx.submit("PEP", BUY, 1)  # valid, and part of the same evaluation
        act(ctx)

    (suspension,) = run(Scripted(step), [bars(1, "KO")])
    assert suspension.kind == SUSPENDED
    assert message in suspension.arguments["message"]


def test_orders_of_a_failed_evaluation_do_not_work() -> None:
    def act(ctx: Any, number: int) -> None:
        ctx.submit("KO", BUY, 1)
        raise ValueError("too late")

    stage = stage_of(Scripted(act))
    feed(stage, [bars(1, "KO")])
    (_, (_, _, state, (orders, ids, requests), *_)), *_ = [(name, one) for name, one in stage.snapshot()[5].items()]
    assert (state, orders, ids, requests) == ({}, [], {}, [])


def test_actions_during_warm_up_are_rejected_and_not_sent() -> None:
    found: list[Any] = []

    class WarmingUp(Scripted):
        warm_up = 3

        def on_order(self, ctx: Any, update: Any) -> None:
            found.append((update.status, update.request, update.check, update.limit, update.value, update.order_id))

    def act(ctx: Any, number: int) -> None:
        ctx.target_weight("KO", 0.5)
        ctx.submit("KO", BUY, 1)

    actions = run(WarmingUp(act), [bars(number, "KO") for number in (1, 2, 3, 4)])
    assert [(action.kind, action.ts_ns) for action in actions] == [
        ("TARGET_WEIGHT", minute(3)),
        ("SUBMIT_ORDER", minute(3)),
        ("TARGET_WEIGHT", minute(4)),
        ("SUBMIT_ORDER", minute(4)),
    ]
    assert found == [
        ("rejected", "target", "warm_up", "3", "1", ""),
        ("rejected", "submit", "warm_up", "3", "1", "ord-act-warming_up-2"),
        ("rejected", "target", "warm_up", "3", "2", ""),
        ("rejected", "submit", "warm_up", "3", "2", "ord-act-warming_up-4"),
    ]


def test_warm_up_counts_the_bars_of_each_symbol() -> None:
    """PEP starts a minute later, so that its warm-up ends a minute later."""

    def act(ctx: Any, number: int) -> None:
        ctx.target_weight("KO", 0.5)
        ctx.target_weight("PEP", 0.5)

    slices = [bars(1, "KO"), bars(2, "KO", "PEP"), bars(3, "KO", "PEP")]
    actions = run(Scripted(act, warm_up=2), slices)
    assert [(action.symbol, action.ts_ns) for action in actions] == [
        ("KO", minute(2)),
        ("KO", minute(3)),
        ("PEP", minute(3)),
    ]


def test_warm_up_counts_bars_of_the_shortest_declared_interval() -> None:
    strategy = Scripted(lambda ctx, number: ctx.target_weight("KO", 0.5), warm_up=2, history={"5m": 2, "15m": 2})
    actions = run(strategy, [bars(number, "KO") for number in range(1, 12)])
    assert actions[0].ts_ns == minute(10), "the second bar of five minutes closes with minute 10"
