"""The gateway in single cases, and with a model broker whose reports are lost, repeated and reordered."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.gateway import GatewaySettings, GatewayStage
from operators.instruments import CRYPTO, Instrument, Instruments
from operators.money import ZERO
from schemas.records import (
    BUY,
    CANCELED,
    DAY,
    EXPIRED,
    GTC,
    GTD,
    HALTED,
    LIMIT,
    MARKET,
    NEW,
    POST,
    READY,
    REJECTED,
    REPLACED,
    SELL,
    STOP,
    TRADE,
    TRAILING_STOP,
    Bar,
    BrokerAccount,
    BrokerUpdate,
    CorporateAction,
    Execution,
    GatewayStatus,
    Order,
    OrderCancel,
    OrderIntent,
    Quote,
    Record,
    RiskFence,
)
from tests.unit.builders import bar

SECOND_NS = 10**9


def order(number: int, side: str = BUY, quantity: str = "10", symbol: str = "A", **terms: Any) -> Order:
    epoch = terms.pop("epoch", 0)
    kind, limit, time_in_force = terms.pop("kind", MARKET), terms.pop("limit", None), terms.pop("force", DAY)
    identity = (number, number * SECOND_NS, f"ord-{number}", f"prop-{number}", symbol, side, Decimal(quantity))
    return Order(*identity, kind, limit, time_in_force, epoch, [], **terms)


def update(name: str, event: str, quantity: Any = 0, price: Any = 0, cum: Any = 0, text: str = "") -> BrokerUpdate:
    amounts = (Decimal(quantity), Decimal(price), Decimal(cum))
    key = f"{name}:{event}:{cum}:{text}"
    return BrokerUpdate(key, 0, "alpaca", name, "", event, "A", BUY, *amounts, 0, text)


def account(number: int, positions: dict[str, str] | None = None, *working: str) -> BrokerAccount:
    holdings = (positions or {}, dict.fromkeys(working, "new"))
    return BrokerAccount(f"acc-{number}", 0, "alpaca", ZERO, ZERO, *holdings)


class GatewayHarness:
    """A gateway stage. Each step also runs on a stage restored from a snapshot, and the outputs must be equal."""

    def __init__(self, **settings_fields: Any) -> None:
        self._settings = GatewaySettings(**settings_fields)
        self.stage = GatewayStage(self._settings)
        self.now = 0

    def step(self, *records: Record, seconds: int = 1) -> list[Record]:
        self.now += seconds * SECOND_NS
        restored = GatewayStage(self._settings)
        restored.restore(self.stage.snapshot())
        output, restored_output = (
            self.stage.on_slice(self.now, list(records)),
            restored.on_slice(self.now, list(records)),
        )
        assert output == restored_output, "a restored gateway does the same"
        return output

    def connect(self) -> None:
        self.step(update("", "CONNECTED"), account(0))


def intents(output: list[Record]) -> list[tuple[Any, ...]]:
    return [(o.kind, o.client_order_id, o.side, o.quantity, o.order_type) for o in output if isinstance(o, OrderIntent)]


def reports(output: list[Record]) -> list[tuple[Any, ...]]:
    return [(o.order_id, o.exec_type, o.quantity, o.price) for o in output if isinstance(o, Execution)]


def only(output: list[Record], kind: type) -> Any:
    matches = [record for record in output if type(record) is kind]
    assert len(matches) == 1, matches
    return matches[0]


# -- model broker -------------------------------------------------------------------------------------------------


class ModelBroker:
    """A broker that accepts, fills and ends orders. Each method returns the updates that it would send."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.position = ZERO

    def submit(self, intent: OrderIntent) -> list[BrokerUpdate]:
        if intent.kind == "SUBMIT":
            assert intent.client_order_id not in self.orders, "asked twice"
            sign = 1 if intent.side == BUY else -1
            # A gateway that has not received a fill yet cannot know that its order would cross zero.
            crosses = self.position * sign < 0 and intent.quantity > abs(self.position)
            status = "rejected" if crosses else "new"
            terms = {"side": sign, "quantity": intent.quantity, "cum": ZERO, "value": ZERO, "status": status}
            self.orders[intent.client_order_id] = terms
            return [update(intent.client_order_id, REJECTED if crosses else NEW)]
        return self.end(intent.client_order_id, "canceled", CANCELED)

    def end(self, name: str, status: str, event: str) -> list[BrokerUpdate]:
        order_state = self.orders[name]
        if order_state["status"] != "new":
            return []
        order_state["status"] = status
        return [update(name, event, cum=order_state["cum"])]

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
        return [update(name, TRADE, quantity, price, order_state["cum"])]

    def order_report(self, name: str) -> BrokerUpdate:
        order_state = self.orders[name]
        average = order_state["value"] / order_state["cum"] if order_state["cum"] else ZERO
        return update(
            name,
            "ORDER",
            order_state["quantity"],
            average.quantize(Decimal("1e-9")),
            order_state["cum"],
            order_state["status"],
        )


DELIVERIES = st.sampled_from(["told", "told", "lost", "twice", "late"])


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
            side = data.draw(st.sampled_from([BUY, SELL]))
            # Two open orders on opposite sides could cross at the broker. Risk's self-trade check does not run.
            if not any(one["status"] == "new" for one in broker.orders.values()):
                step([order(number, side, str(data.draw(st.integers(1, 20))))])
        elif action in ("fill", "expire") and names:
            name = data.draw(st.sampled_from(names))
            if action == "fill":
                price = Decimal(data.draw(st.integers(90, 110)))
                step(deliver(broker.fill(name, Decimal(data.draw(st.integers(1, 20))), price)))
            else:
                step(deliver(broker.end(name, "expired", EXPIRED)))
        elif action == "cancel" and number:
            cancel_number = data.draw(st.integers(1, number))
            step([OrderCancel(0, 0, f"ord-{cancel_number}", "A", "by hand", "cmd")])
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
    status = gateway.step(account(1, {"A": str(broker.position)} if broker.position else {}), update("", "CONNECTED"))
    status = gateway.step(account(2, {"A": str(broker.position)} if broker.position else {}))
    assert only(status, GatewayStatus).state == READY, status


# -- cases ----------------------------------------------------------------------------------------------------


def test_out_of_order_fills_are_each_booked_once() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, quantity="30"))
    second = update("ord-1", TRADE, 10, 102, 20)
    assert reports(gateway.step(second, second)) == [("ord-1", NEW, 0, 0), ("ord-1", TRADE, 10, 102)]
    assert reports(gateway.step(update("ord-1", TRADE, 10, 101, 10))) == [("ord-1", TRADE, 10, 101)]
    output = gateway.step(update("ord-1", "ORDER", 30, "101.1", 30, "filled"))
    assert reports(output) == [("ord-1", TRADE, 10, Decimal("100.3"))]
    assert "fill report is missing" in only(output, Execution).text
    assert reports(gateway.step(update("ord-1", TRADE, 10, "100.3", 30))) == []


def test_a_cancel_waits_for_the_fills_that_the_broker_counts() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    assert reports(gateway.step(update("ord-1", CANCELED, cum=4))) == [("ord-1", NEW, 0, 0)]
    output = gateway.step(update("ord-1", TRADE, 4, 100, 4))
    assert reports(output) == [("ord-1", TRADE, 4, 100), ("ord-1", CANCELED, 0, 0)]


def test_an_order_in_doubt_is_not_rejected_and_nothing_new_is_approved() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    output = gateway.step(update("ord-1", "UNKNOWN", text="no answer within 5 s"))
    assert reports(output) == []
    reason = "status of order ord-1 is unknown: no answer within 5 s"
    assert only(output, GatewayStatus)[2:5] == ("RECONCILING", "alpaca", reason)
    output = gateway.step(update("ord-1", NEW))
    assert reports(output) == [("ord-1", NEW, 0, 0)]
    assert only(output, GatewayStatus).state == READY


def test_an_order_that_would_cross_zero_closes_first_then_opens() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    gateway.step(update("ord-1", TRADE, 10, 100, 10))
    assert intents(gateway.step(order(2, SELL, "25"))) == [("SUBMIT", "ord-2", SELL, 10, MARKET)]
    output = gateway.step(update("ord-2", TRADE, 10, 101, 10))
    assert intents(output) == [("SUBMIT", "ord-2.2", SELL, 15, MARKET)]
    assert "sent as two orders, one to close and one to open" in only(output, OrderIntent).emulated
    assert reports(output)[-1] == ("ord-2", TRADE, 10, 101)
    output = gateway.step(update("ord-2.2", TRADE, 15, 101, 15))
    assert [one.leaves_quantity for one in output if isinstance(one, Execution)] == [0]


def test_fence_rejects_older_epochs_and_cancels_working_orders() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    output = gateway.step(RiskFence(2, 0, 1, HALTED, "by hand", "cmd"), order(3), order(4, epoch=1))
    assert intents(output) == [("CANCEL", "ord-1", BUY, 10, MARKET)]
    texts = [(one.order_id, one.exec_type, one.text) for one in output if isinstance(one, Execution)]
    assert texts == [
        ("ord-3", REJECTED, "risk epoch 0 is older than the current risk epoch 1"),
        ("ord-4", REJECTED, "trading has been halted since risk epoch 1"),
    ]
    output = gateway.step(update("ord-1", CANCELED))
    assert only(output, Execution).text == "halted by risk epoch 1: by hand"


def test_one_of_a_group_cancels_the_others_and_a_child_waits_for_its_parent() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    take = order(2, SELL, kind=LIMIT, limit=Decimal(110), group_id="g", parent_id="prop-1")
    stop = order(3, SELL, kind=STOP, stop_price=Decimal(90), group_id="g", parent_id="prop-1")
    output = gateway.step(order(1), take, stop)
    assert [one[1] for one in intents(output)] == ["ord-1"]
    output = gateway.step(update("ord-1", TRADE, 10, 100, 10))
    # Both orders close the same position, which the broker rejects. One is at the broker, the gateway holds the other.
    assert intents(output) == [("SUBMIT", "ord-2", SELL, 10, LIMIT)]
    output = gateway.step(update("ord-2", TRADE, 10, 110, 10))
    assert ("ord-3", CANCELED, 0, 0) in reports(output)
    assert intents(output) == []


def test_amended_order_continues_after_the_fills_of_the_original() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, kind=LIMIT, limit=Decimal(99)))
    gateway.step(update("ord-1", TRADE, 4, 99, 4))
    output = gateway.step(order(2, kind=LIMIT, limit=Decimal(101), replaces="ord-1"))
    assert intents(output) == [("CANCEL", "ord-1", BUY, 10, LIMIT)]
    output = gateway.step(update("ord-1", CANCELED, cum=4))
    assert intents(output) == [("SUBMIT", "ord-2", BUY, 6, LIMIT)]
    assert reports(output) == [("ord-1", REPLACED, 0, 0)]
    output = gateway.step(update("ord-2", TRADE, 6, 101, 6))
    assert (only(output, Execution).cum_quantity, only(output, Execution).leaves_quantity) == (10, 0)


def test_good_till_date_is_cancelled_by_the_gateway() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    output = gateway.step(order(1, kind=LIMIT, limit=Decimal(99), force=GTD, expires_ns=5 * SECOND_NS))
    assert (only(output, OrderIntent).time_in_force, only(output, OrderIntent).emulated != "") == (GTC, True)
    assert intents(gateway.step(seconds=2)) == []
    assert intents(gateway.step()) == [("CANCEL", "ord-1", BUY, 10, LIMIT)]


def test_reduce_only_never_exceeds_the_open_position() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, quantity="3"))
    gateway.step(update("ord-1", TRADE, 3, 100, 3))
    assert intents(gateway.step(order(2, SELL, "10", reduce_only=True))) == [("SUBMIT", "ord-2", SELL, 3, MARKET)]
    output = gateway.step(update("ord-2", TRADE, 3, 100, 3))
    assert reports(output) == [("ord-2", NEW, 0, 0), ("ord-2", TRADE, 3, 100), ("ord-2", CANCELED, 0, 0)]


def test_outside_regular_hours_a_market_order_is_a_limit_and_stops_are_watched_here() -> None:
    gateway = GatewayHarness(extended_hours=True)
    gateway.connect()
    post = bar("A", 1, 3 * SECOND_NS)._replace(session=POST)
    gateway.step(post)
    output = gateway.step(order(1))
    intent = only(output, OrderIntent)
    assert (intent.order_type, intent.limit_price, intent.extended_hours) == (LIMIT, Decimal("100.5"), True)
    gateway.step(update("ord-1", TRADE, 10, 100, 10))
    output = gateway.step(order(2, SELL, kind=TRAILING_STOP, trail_amount=Decimal(2)))
    assert intents(output) == [] and only(output, Execution).text == "the gateway triggers the stop"
    assert intents(gateway.step(Quote("A", 1, 0, 100.0, 100.1, 1.0, 1.0))) == []
    assert intents(gateway.step(Quote("A", 2, 0, 103.0, 103.1, 1.0, 1.0))) == []
    output = gateway.step(Quote("A", 3, 0, 101.0, 101.1, 1.0, 1.0))
    assert intents(output) == [("SUBMIT", "ord-2", SELL, 10, LIMIT)]


def test_crypto_day_orders_are_emulated_and_short_sales_rejected() -> None:
    pair = Instruments(listed=(Instrument(symbol="A", asset_class=CRYPTO, lot_size=Decimal("0.0001")),))
    gateway = GatewayHarness(instruments=pair)
    gateway.connect()
    gateway.step(bar("A", 1, SECOND_NS))
    output = gateway.step(order(1, quantity="0.5"))
    assert only(output, OrderIntent).time_in_force == GTC
    output = gateway.step(order(2, SELL, "0.5"))
    assert reports(output) == [("ord-2", REJECTED, 0, 0)], "nothing to sell, and crypto is not shorted"
    output = gateway.step(bar("A", 2, 9 * SECOND_NS, day=20240103))
    assert intents(output) == [("CANCEL", "ord-1", BUY, Decimal("0.5"), MARKET)]


@pytest.mark.parametrize(
    ("broker_account", "reason"),
    [
        (account(1, {"A": "7"}), "A: position is 0 here, 7 at the broker"),
        (account(1, {}, "ord-9"), "order ord-9 is open at the broker but not here"),
        (account(1, {"A": "many"}), "A: quantity 'many' at the broker is not a number"),
    ],
)
def test_difference_to_the_broker_is_reported_until_resolved(broker_account: BrokerAccount, reason: str) -> None:
    gateway = GatewayHarness()
    output = gateway.step()
    assert only(output, GatewayStatus).state == "RECONCILING", "from the first tick on"
    output = gateway.step(update("", "CONNECTED"), broker_account)
    assert only(output, GatewayStatus)[2:5] == ("RECONCILING", "alpaca", reason)
    assert gateway.step(broker_account) == []
    assert only(gateway.step(account(2)), GatewayStatus).state == READY


def test_difference_while_ready_counts_when_seen_twice() -> None:
    gateway = GatewayHarness(foreign_positions={"B": Decimal(5)})
    gateway.step(update("", "CONNECTED"), account(1, {"B": "5"}))
    unexpected_positions = {"A": "1", "B": "5"}
    assert gateway.step(account(2, unexpected_positions)) == []
    assert gateway.step(account(2, unexpected_positions)) == [], "a repeated account report counts once"
    assert only(gateway.step(account(3, unexpected_positions)), GatewayStatus).state == "RECONCILING"


def test_disconnected_broker_gives_status_down() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    output = gateway.step(update("", "DISCONNECTED", text="the updates stream is cut"))
    assert only(output, GatewayStatus)[2:5] == ("DOWN", "alpaca", "the updates stream is cut")


def test_split_adjusts_the_expected_broker_position() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    gateway.step(update("ord-1", TRADE, 10, 100, 10))
    split = CorporateAction("s", 0, "SPLIT", "A", 20240103, 0, Decimal(4), None, "USD", "", "test")
    gateway.step(split, bar("A", 1, 9 * SECOND_NS, day=20240102))
    assert gateway.step(account(1, {"A": "10"})) == []
    gateway.step(bar("A", 2, 10 * SECOND_NS, day=20240103))
    assert gateway.step(account(2, {"A": "40"})) == []
    assert gateway.step(account(3, {"A": "40"})) == []


def test_fill_after_the_final_report_is_booked_once() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    assert reports(gateway.step(update("ord-1", EXPIRED)))[-1] == ("ord-1", EXPIRED, 0, 0)
    late = update("ord-1", TRADE, 4, 100, 4)
    output = gateway.step(late, late)
    assert reports(output) == [("ord-1", TRADE, 4, 100)]
    assert gateway.step(account(1, {"A": "4"})) == []


def test_an_idle_slice_writes_nothing() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, kind=LIMIT, limit=Decimal(99)), Bar("A", 1, 1, 0, 1.0, 1.0, 1.0, 1.0, 0.0, POST, 1, False))
    assert [gateway.step() for _ in range(5)] == [[]] * 5
