"""The gateway with a model broker whose reports are lost, repeated and reordered."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.money import ZERO
from schemas.records import (
    BUY,
    CANCELED,
    EXPIRED,
    NEW,
    READY,
    REJECTED,
    SELL,
    SUBMIT,
    TRADE,
    BrokerEvent,
    BrokerUpdate,
    Execution,
    GatewayStatus,
    OrderIntent,
    Record,
)
from schemas.records.constants import Side
from tests.builders import broker_account, broker_update, order, order_cancel
from tests.unit.gateway_harness import GatewayHarness, only


class ModelBroker:
    """A broker that accepts, fills and ends orders. Each method returns the updates that it would send."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.position = ZERO

    def submit(self, intent: OrderIntent) -> list[BrokerUpdate]:
        if intent.kind == SUBMIT:
            assert intent.client_order_id not in self.orders, "submitted twice"
            sign = 1 if intent.terms.side == BUY else -1
            # A gateway that has not received a fill yet cannot know that its order would cross zero.
            crosses = self.position * sign < 0 and intent.terms.quantity > abs(self.position)
            status = "rejected" if crosses else "new"
            terms = {"side": sign, "quantity": intent.terms.quantity, "cum": ZERO, "value": ZERO, "status": status}
            self.orders[intent.client_order_id] = terms
            return [broker_update(intent.client_order_id, REJECTED if crosses else NEW)]
        return self.end(intent.client_order_id, "canceled", CANCELED)

    def end(self, name: str, status: str, event: BrokerEvent) -> list[BrokerUpdate]:
        order_state = self.orders[name]
        if order_state["status"] != "new":
            return []
        order_state["status"] = status
        return [broker_update(name, event, filled=order_state["cum"])]

    def fill(self, name: str, quantity: Decimal, price: Decimal) -> list[BrokerUpdate]:
        order_state = self.orders[name]
        quantity = min(quantity, order_state["quantity"] - order_state["cum"])
        if order_state["status"] != "new" or not quantity:
            return []
        order_state["cum"] += quantity
        order_state["value"] += quantity * price
        self.position += order_state["side"] * quantity
        if order_state["cum"] == order_state["quantity"]:
            order_state["status"] = "filled"
        return [broker_update(name, TRADE, quantity, price, order_state["cum"])]

    def order_report(self, name: str) -> BrokerUpdate:
        order_state = self.orders[name]
        average = order_state["value"] / order_state["cum"] if order_state["cum"] else ZERO
        return broker_update(
            name,
            "ORDER",
            order_state["quantity"],
            average.quantize(Decimal("1e-9")),
            order_state["cum"],
            text=order_state["status"],
        )


SIDES: st.SearchStrategy[Side] = st.sampled_from([BUY, SELL])
DELIVERIES = st.sampled_from(["once", "once", "lost", "twice", "late"])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_book_matches_the_broker_whatever_happens_to_its_reports(data: st.DataObject) -> None:
    gateway, broker = GatewayHarness(), ModelBroker()
    gateway.connect()
    late: list[Record] = []
    executions: list[Execution] = []
    number = 0

    def deliver(updates: list[Any]) -> list[Record]:
        delivered: list[Record] = []
        for report in updates:
            delivery = data.draw(DELIVERIES)
            if delivery == "late":
                late.append(report)
            elif delivery != "lost":
                delivered += [report] * (2 if delivery == "twice" else 1)
        return delivered

    def step(records: list[Record]) -> None:
        queue = records
        while True:
            output = gateway.step(*queue)
            executions.extend(record for record in output if isinstance(record, Execution))
            new_intents = [record for record in output if isinstance(record, OrderIntent)]
            queue = deliver([report for intent in new_intents for report in broker.submit(intent)])
            if not new_intents and not queue:
                return

    for _ in range(data.draw(st.integers(3, 12))):
        action = data.draw(st.sampled_from(["order", "order", "fill", "fill", "cancel", "expire", "late"]))
        names = list(broker.orders)
        if action == "order":
            number += 1
            side: Side = data.draw(SIDES)
            # Two open orders on opposite sides could cross at the broker. Risk's self-trade check does not run.
            if not any(one["status"] == "new" for one in broker.orders.values()):
                step([order(number, side, data.draw(st.integers(1, 20)))])
        elif action in ("fill", "expire") and names:
            name = data.draw(st.sampled_from(names))
            if action == "fill":
                price = Decimal(data.draw(st.integers(90, 110)))
                step(deliver(broker.fill(name, Decimal(data.draw(st.integers(1, 20))), price)))
            else:
                step(deliver(broker.end(name, "expired", EXPIRED)))
        elif action == "cancel" and number:
            cancel_number = data.draw(st.integers(1, number))
            step([order_cancel(0, f"ord-{cancel_number}")])
        elif action == "late":
            step([late.pop(0)] if late else [])
    # At the end, late reports arrive, working orders fill, and the broker client requests every order.
    step(late)
    for _ in range(2 * number + 2):
        working = [name for name, one in broker.orders.items() if one["status"] == "new"]
        for name in working:
            broker.fill(name, broker.orders[name]["quantity"], Decimal(100))
        step([broker.order_report(name) for name in broker.orders])

    trades = [one for one in executions if one.exec_type == TRADE]
    assert sum((t.quantity if t.side == BUY else -t.quantity for t in trades), ZERO) == broker.position
    for name in {one.order_id for one in executions}:
        legs = [one for leg, one in broker.orders.items() if leg.split(".")[0] == name]
        order_trades = [one for one in trades if one.order_id == name]
        assert sum((one.quantity for one in order_trades), ZERO) == sum((leg["cum"] for leg in legs), ZERO)
        traded_value = sum((one.quantity * one.price for one in order_trades), ZERO)
        assert abs(traded_value - sum((leg["value"] for leg in legs), ZERO)) < Decimal("0.0001")
    assert [one.seq for one in executions] == sorted({one.seq for one in executions})
    status = gateway.step(
        broker_account(1, {"AAPL": str(broker.position)} if broker.position else {}), broker_update("", "CONNECTED")
    )
    status = gateway.step(broker_account(2, {"AAPL": str(broker.position)} if broker.position else {}))
    assert only(status, GatewayStatus).state == READY, status
