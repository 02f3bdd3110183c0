"""A person amends and cancels the orders of trading strategies: the strategy receives it, and `explain` shows it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.explain.lineage import explain
from schemas.records import AMEND_ORDER, CANCEL_ORDER, Command, Order, OrderCancel, OrderProposal, OrderRefusal
from tests.builders import command
from tests.unit.memory_record_store import MemoryRecordStore
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Recording

D = Decimal
ORDER_ID = "ord-act-limit-1"


def limit_order(ctx: Any, number: int) -> None:
    """Buy 10 at 90 in the first minute, and note the working orders in each one."""
    if number == 1:
        ctx.submit("KO", "BUY", 10, limit_price=90, tag="dip")
    else:
        ctx.note(" ".join(f"{one.id} {one.quantity:g} at {one.limit_price:g}" for one in ctx.orders()) or "no orders")


def desk_after(*commands: Command) -> TradingDesk:
    desk = TradingDesk(Recording(limit_order, name="limit"))
    desk.step(2, KO=100.0)
    desk.step(1, *commands, KO=100.0)
    desk.step(2, KO=100.0)
    return desk


def test_a_strategy_receives_the_cancel_of_its_order_by_a_person() -> None:
    cancel = command("cmd-1", 1, CANCEL_ORDER, {"order_id": ORDER_ID}, actor="ann", reason="too early")
    desk = desk_after(cancel)
    assert f"cancelled submit {ORDER_ID}" in desk.notes() and desk.notes()[-1] == "no orders"
    desk.step(1, KO=80.0)
    assert not desk.trades()
    explanation = explain(MemoryRecordStore([cancel, *desk.records]), ORDER_ID)
    assert explanation is not None
    (node,) = (one for one in explanation.consequences if type(one.record) is OrderCancel)
    assert [cause.record for cause in node.causes] == [cancel]


def test_a_strategy_receives_the_amendment_of_its_order_by_a_person_and_keeps_its_id() -> None:
    changes = {"order_id": ORDER_ID, "limit_price": "95", "quantity": "6"}
    amend = command("cmd-1", 1, AMEND_ORDER, changes, actor="ann", reason="closer")
    desk = desk_after(amend)
    assert f"amended amend {ORDER_ID}" in desk.notes() and desk.notes()[-1] == f"{ORDER_ID} 6 at 95"
    desk.step(2, KO=94.0)
    assert [(symbol, quantity) for _, symbol, quantity, _ in desk.trades()] == [("KO", 6)]
    assert {row.strategy: row.quantities for row in desk.strategies.accounts()}["limit"] == {"KO": 6}
    (successor,) = (one for one in desk.of(Order) if one.replaces == ORDER_ID)
    explanation = explain(MemoryRecordStore([amend, *desk.records]), successor.order_id)
    assert explanation is not None
    assert [cause.record for cause in explanation.root.causes if type(cause.record) is Command] == [amend]


def test_a_strategy_can_cancel_its_order_after_a_person_has_amended_it() -> None:
    def act(ctx: Any, number: int) -> None:
        limit_order(ctx, number)
        if number == 6:
            ctx.cancel(ORDER_ID)

    desk = TradingDesk(Recording(act, name="limit"))
    amend = command("cmd-1", 1, AMEND_ORDER, {"order_id": ORDER_ID, "limit_price": "95"})
    desk.step(2, KO=100.0)
    desk.step(1, amend, KO=100.0)
    desk.step(5, KO=100.0)
    assert f"cancelled submit {ORDER_ID}" in desk.notes() and desk.notes()[-1] == "no orders"
    assert not desk.of(OrderRefusal)


def test_an_amendment_that_risk_rejects_leaves_the_order_as_it_was() -> None:
    """The person sees the rejection. It is no answer to an action of the strategy."""
    amend = command("cmd-1", 1, AMEND_ORDER, {"order_id": ORDER_ID, "limit_price": "-1"})
    desk = desk_after(amend)
    assert [one.cause_id for one in desk.of(OrderRefusal)] == ["cmd-1"]
    assert desk.notes()[-1] == f"{ORDER_ID} 10 at 90"


@pytest.mark.parametrize("kind", [AMEND_ORDER, CANCEL_ORDER])
def test_a_person_ends_the_order_of_a_target_and_the_strategy_receives_it(kind: str) -> None:
    """What the portfolio's order does not buy is abandoned. Amended by a person, it is a manual order."""
    script = {1: 10}
    strategy = Recording(lambda ctx, number: ctx.target_quantity("KO", script[number]) if number in script else None)
    strategy.name = "target"
    desk = TradingDesk(strategy, portfolio={"order_type": "LIMIT", "limit_offset_bps": D(0)})
    desk.step(1, KO=100.0)
    desk.step(1, KO=110.0)
    (order,) = desk.of(Order)
    arguments = {"order_id": order.order_id} | ({"quantity": "4"} if kind == AMEND_ORDER else {})
    desk.step(1, command("cmd-1", 1, kind, arguments), KO=110.0)
    desk.step(1, KO=110.0)
    desk.step(3, KO=99.0)
    bought = 4 if kind == AMEND_ORDER else 0
    positions = {row.strategy: row.quantities.get("KO", 0) for row in desk.strategies.accounts()}
    assert positions == {"target": 0, "remainder": bought} and desk.position("KO") == bought
    assert desk.notes() == [f"cancelled target {order.order_id}"]
    assert len(desk.of(OrderProposal)) == 1, "nothing is bought again"
