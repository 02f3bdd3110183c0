"""The gateway against a broker that loses, repeats and reorders its reports, and case by case."""

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

SECOND = 10**9


def order(number: int, side: str = BUY, quantity: str = "10", symbol: str = "A", **terms: Any) -> Order:
    epoch = terms.pop("epoch", 0)
    kind, limit, force = terms.pop("kind", MARKET), terms.pop("limit", None), terms.pop("force", DAY)
    at = (number, number * SECOND, f"ord-{number}", f"prop-{number}", symbol, side, Decimal(quantity))
    return Order(*at, kind, limit, force, epoch, [], **terms)


def update(name: str, event: str, quantity: Any = 0, price: Any = 0, cum: Any = 0, text: str = "") -> BrokerUpdate:
    amounts = (Decimal(quantity), Decimal(price), Decimal(cum))
    key = f"{name}:{event}:{cum}:{text}"
    return BrokerUpdate(key, 0, "alpaca", name, "", event, "A", BUY, *amounts, 0, text)


def account(number: int, positions: dict[str, str] | None = None, *working: str) -> BrokerAccount:
    books = (positions or {}, dict.fromkeys(working, "new"))
    return BrokerAccount(f"acc-{number}", 0, "alpaca", ZERO, ZERO, *books)


class Gateway:
    """A stage, tick by tick; every tick also goes through a snapshot."""

    def __init__(self, **given: Any) -> None:
        self._settings = GatewaySettings(**given)
        self.stage = GatewayStage(self._settings)
        self.now = 0

    def tick(self, *records: Record, seconds: int = 1) -> list[Record]:
        self.now += seconds * SECOND
        restored = GatewayStage(self._settings)
        restored.restore(self.stage.snapshot())
        made, again = self.stage.on_tick(self.now, list(records)), restored.on_tick(self.now, list(records))
        assert made == again, "a restored gateway does the same"
        return made

    def connect(self) -> None:
        self.tick(update("", "CONNECTED"), account(0))


def intents(made: list[Record]) -> list[tuple[Any, ...]]:
    return [(o.kind, o.client_order_id, o.side, o.quantity, o.order_type) for o in made if isinstance(o, OrderIntent)]


def reports(made: list[Record]) -> list[tuple[Any, ...]]:
    return [(o.order_id, o.exec_type, o.quantity, o.price) for o in made if isinstance(o, Execution)]


def only(made: list[Record], kind: type) -> Any:
    found = [record for record in made if type(record) is kind]
    assert len(found) == 1, found
    return found[0]


# -- the model ----------------------------------------------------------------------------------------------------


class ModelBroker:
    """Fills what it was asked for in random parts, and says so; `unheard` are reports that never came."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.position = ZERO

    def take(self, intent: OrderIntent) -> list[BrokerUpdate]:
        if intent.kind == "SUBMIT":
            assert intent.client_order_id not in self.orders, "asked twice"
            sign = 1 if intent.side == BUY else -1
            # A gateway that has not heard of a fill yet cannot know that its order would cross zero.
            crosses = self.position * sign < 0 and intent.quantity > abs(self.position)
            status = "rejected" if crosses else "new"
            terms = {"side": sign, "quantity": intent.quantity, "cum": ZERO, "value": ZERO, "status": status}
            self.orders[intent.client_order_id] = terms
            return [update(intent.client_order_id, REJECTED if crosses else NEW)]
        return self.end(intent.client_order_id, "canceled", CANCELED)

    def end(self, name: str, status: str, event: str) -> list[BrokerUpdate]:
        one = self.orders[name]
        if one["status"] != "new":
            return []
        one["status"] = status
        return [update(name, event, cum=one["cum"])]

    def fill(self, name: str, quantity: Decimal, price: Decimal) -> list[BrokerUpdate]:
        one = self.orders[name]
        quantity = min(quantity, one["quantity"] - one["cum"])
        if one["status"] != "new" or not quantity:
            return []
        one["cum"] += quantity
        one["value"] += quantity * price
        self.position += one["side"] * quantity
        if one["cum"] == one["quantity"]:
            one["status"] = "filled"
        return [update(name, TRADE, quantity, price, one["cum"])]

    def total(self, name: str) -> BrokerUpdate:
        one = self.orders[name]
        average = one["value"] / one["cum"] if one["cum"] else ZERO
        return update(name, "ORDER", one["quantity"], average.quantize(Decimal("1e-9")), one["cum"], one["status"])


FATES = st.sampled_from(["told", "told", "lost", "twice", "late"])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_becomes_of_the_reports_the_books_end_as_the_brokers(data: st.DataObject) -> None:
    gateway, broker = Gateway(), ModelBroker()
    gateway.connect()
    late: list[Record] = []
    seen: list[Execution] = []
    number = 0

    def deliver(told: list[Any]) -> list[Record]:
        now: list[Record] = []
        for one in told:
            fate = data.draw(FATES)
            if fate == "late":
                late.append(one)
            elif fate != "lost":
                now += [one] * (2 if fate == "twice" else 1)
        return now

    def step(records: list[Record]) -> None:
        queue = records
        while True:
            made = gateway.tick(*queue)
            seen.extend(record for record in made if isinstance(record, Execution))
            asked = [record for record in made if isinstance(record, OrderIntent)]
            queue = deliver([told for intent in asked for told in broker.take(intent)])
            if not asked and not queue:
                return

    for _ in range(data.draw(st.integers(3, 12))):
        what = data.draw(st.sampled_from(["order", "order", "fill", "fill", "cancel", "expire", "late"]))
        names = list(broker.orders)
        if what == "order":
            number += 1
            side = data.draw(st.sampled_from([BUY, SELL]))
            # Two orders of opposite sides at once could cross at the broker; risk's self-trade check is not here.
            if not any(one["status"] == "new" for one in broker.orders.values()):
                step([order(number, side, str(data.draw(st.integers(1, 20))))])
        elif what in ("fill", "expire") and names:
            name = data.draw(st.sampled_from(names))
            if what == "fill":
                price = Decimal(data.draw(st.integers(90, 110)))
                step(deliver(broker.fill(name, Decimal(data.draw(st.integers(1, 20))), price)))
            else:
                step(deliver(broker.end(name, "expired", EXPIRED)))
        elif what == "cancel" and number:
            asked = data.draw(st.integers(1, number))
            step([OrderCancel(0, 0, f"ord-{asked}", "A", "by hand", "cmd")])
        elif what == "late":
            step([late.pop(0)] if late else [])
    # In the end the edge asks for every order, what was late comes after all, and what works is filled.
    step(late)
    for _ in range(2 * number + 2):
        working = [name for name, one in broker.orders.items() if one["status"] == "new"]
        for name in working:
            broker.fill(name, broker.orders[name]["quantity"], Decimal(100))
        step([broker.total(name) for name in broker.orders])

    trades = [one for one in seen if one.exec_type == TRADE]
    assert sum((t.quantity if t.side == BUY else -t.quantity for t in trades), ZERO) == broker.position
    for name in {one.order_id for one in seen}:
        legs = [one for leg, one in broker.orders.items() if leg.split(".")[0] == name]
        mine = [one for one in trades if one.order_id == name]
        assert sum((one.quantity for one in mine), ZERO) == sum((leg["cum"] for leg in legs), ZERO)
        worth = sum((one.quantity * one.price for one in mine), ZERO)
        assert abs(worth - sum((leg["value"] for leg in legs), ZERO)) < Decimal("0.0001")
    assert [one.seq for one in seen] == sorted({one.seq for one in seen})
    status = gateway.tick(account(1, {"A": str(broker.position)} if broker.position else {}), update("", "CONNECTED"))
    status = gateway.tick(account(2, {"A": str(broker.position)} if broker.position else {}))
    assert only(status, GatewayStatus).state == READY, status


# -- cases ----------------------------------------------------------------------------------------------------


def test_fills_in_another_order_are_each_booked_once() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1, quantity="30"))
    second = update("ord-1", TRADE, 10, 102, 20)
    assert reports(gateway.tick(second, second)) == [("ord-1", NEW, 0, 0), ("ord-1", TRADE, 10, 102)]
    assert reports(gateway.tick(update("ord-1", TRADE, 10, 101, 10))) == [("ord-1", TRADE, 10, 101)]
    made = gateway.tick(update("ord-1", "ORDER", 30, "101.1", 30, "filled"))
    assert reports(made) == [("ord-1", TRADE, 10, Decimal("100.3"))]
    assert "fill report is missing" in only(made, Execution).text
    assert reports(gateway.tick(update("ord-1", TRADE, 10, "100.3", 30))) == []


def test_a_cancel_waits_for_the_fills_that_the_broker_counts() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1))
    assert reports(gateway.tick(update("ord-1", CANCELED, cum=4))) == [("ord-1", NEW, 0, 0)]
    made = gateway.tick(update("ord-1", TRADE, 4, 100, 4))
    assert reports(made) == [("ord-1", TRADE, 4, 100), ("ord-1", CANCELED, 0, 0)]


def test_an_order_in_doubt_is_not_rejected_and_nothing_new_is_approved() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1))
    made = gateway.tick(update("ord-1", "UNKNOWN", text="no answer within 5 s"))
    assert reports(made) == []
    assert only(made, GatewayStatus)[2:5] == ("RECONCILING", "alpaca", "ord-1 is in doubt: no answer within 5 s")
    made = gateway.tick(update("ord-1", NEW))
    assert reports(made) == [("ord-1", NEW, 0, 0)]
    assert only(made, GatewayStatus).state == READY


def test_an_order_that_would_cross_zero_closes_first_then_opens() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1))
    gateway.tick(update("ord-1", TRADE, 10, 100, 10))
    assert intents(gateway.tick(order(2, SELL, "25"))) == [("SUBMIT", "ord-2", SELL, 10, MARKET)]
    made = gateway.tick(update("ord-2", TRADE, 10, 101, 10))
    assert intents(made) == [("SUBMIT", "ord-2.2", SELL, 15, MARKET)]
    assert "closing and opening are two orders" in only(made, OrderIntent).emulated
    assert reports(made)[-1] == ("ord-2", TRADE, 10, 101)
    made = gateway.tick(update("ord-2.2", TRADE, 15, 101, 15))
    assert [one.leaves_quantity for one in made if isinstance(one, Execution)] == [0]


def test_a_fence_refuses_older_epochs_and_cancels_what_works() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1))
    made = gateway.tick(RiskFence(2, 0, 1, HALTED, "by hand", "cmd"), order(3), order(4, epoch=1))
    assert intents(made) == [("CANCEL", "ord-1", BUY, 10, MARKET)]
    texts = [(one.order_id, one.exec_type, one.text) for one in made if isinstance(one, Execution)]
    assert texts == [
        ("ord-3", REJECTED, "risk epoch 0 is older than the fence at 1"),
        ("ord-4", REJECTED, "trading is halted since risk epoch 1"),
    ]
    made = gateway.tick(update("ord-1", CANCELED))
    assert only(made, Execution).text == "halted by risk epoch 1: by hand"


def test_one_of_a_group_cancels_the_others_and_a_child_waits_for_its_parent() -> None:
    gateway = Gateway()
    gateway.connect()
    take = order(2, SELL, kind=LIMIT, limit=Decimal(110), group_id="g", parent_id="prop-1")
    stop = order(3, SELL, kind=STOP, stop_price=Decimal(90), group_id="g", parent_id="prop-1")
    made = gateway.tick(order(1), take, stop)
    assert [one[1] for one in intents(made)] == ["ord-1"]
    made = gateway.tick(update("ord-1", TRADE, 10, 100, 10))
    # Both close the same position, which the broker does not allow at once: one is there, the other waits here.
    assert intents(made) == [("SUBMIT", "ord-2", SELL, 10, LIMIT)]
    made = gateway.tick(update("ord-2", TRADE, 10, 110, 10))
    assert ("ord-3", CANCELED, 0, 0) in reports(made)
    assert intents(made) == []


def test_an_amended_order_follows_on_what_the_old_one_traded() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1, kind=LIMIT, limit=Decimal(99)))
    gateway.tick(update("ord-1", TRADE, 4, 99, 4))
    made = gateway.tick(order(2, kind=LIMIT, limit=Decimal(101), replaces="ord-1"))
    assert intents(made) == [("CANCEL", "ord-1", BUY, 10, LIMIT)]
    made = gateway.tick(update("ord-1", CANCELED, cum=4))
    assert intents(made) == [("SUBMIT", "ord-2", BUY, 6, LIMIT)]
    assert reports(made) == [("ord-1", REPLACED, 0, 0)]
    made = gateway.tick(update("ord-2", TRADE, 6, 101, 6))
    assert (only(made, Execution).cum_quantity, only(made, Execution).leaves_quantity) == (10, 0)


def test_good_till_a_time_is_cancelled_by_the_gateway() -> None:
    gateway = Gateway()
    gateway.connect()
    made = gateway.tick(order(1, kind=LIMIT, limit=Decimal(99), force=GTD, expires_ns=5 * SECOND))
    assert (only(made, OrderIntent).time_in_force, only(made, OrderIntent).emulated != "") == (GTC, True)
    assert intents(gateway.tick(seconds=2)) == []
    assert intents(gateway.tick()) == [("CANCEL", "ord-1", BUY, 10, LIMIT)]


def test_reduce_only_sends_no_more_than_there_is_to_close() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1, quantity="3"))
    gateway.tick(update("ord-1", TRADE, 3, 100, 3))
    assert intents(gateway.tick(order(2, SELL, "10", reduce_only=True))) == [("SUBMIT", "ord-2", SELL, 3, MARKET)]
    made = gateway.tick(update("ord-2", TRADE, 3, 100, 3))
    assert reports(made) == [("ord-2", NEW, 0, 0), ("ord-2", TRADE, 3, 100), ("ord-2", CANCELED, 0, 0)]


def test_outside_regular_hours_a_market_order_is_a_limit_and_stops_are_watched_here() -> None:
    gateway = Gateway(extended_hours=True)
    gateway.connect()
    post = bar("A", 1, 3 * SECOND)._replace(session=POST)
    gateway.tick(post)
    made = gateway.tick(order(1))
    asked = only(made, OrderIntent)
    assert (asked.order_type, asked.limit_price, asked.extended_hours) == (LIMIT, Decimal("100.5"), True)
    gateway.tick(update("ord-1", TRADE, 10, 100, 10))
    made = gateway.tick(order(2, SELL, kind=TRAILING_STOP, trail_amount=Decimal(2)))
    assert intents(made) == [] and only(made, Execution).text == "the gateway watches the stop"
    assert intents(gateway.tick(Quote("A", 1, 0, 100.0, 100.1, 1.0, 1.0))) == []
    assert intents(gateway.tick(Quote("A", 2, 0, 103.0, 103.1, 1.0, 1.0))) == []
    made = gateway.tick(Quote("A", 3, 0, 101.0, 101.1, 1.0, 1.0))
    assert intents(made) == [("SUBMIT", "ord-2", SELL, 10, LIMIT)]


def test_a_crypto_pair_has_no_stops_and_no_days_at_the_broker() -> None:
    pair = Instruments(listed=(Instrument(symbol="A", asset_class=CRYPTO, lot_size=Decimal("0.0001")),))
    gateway = Gateway(instruments=pair)
    gateway.connect()
    gateway.tick(bar("A", 1, SECOND))
    made = gateway.tick(order(1, quantity="0.5"))
    assert only(made, OrderIntent).time_in_force == GTC
    made = gateway.tick(order(2, SELL, "0.5"))
    assert reports(made) == [("ord-2", REJECTED, 0, 0)], "nothing to sell, and crypto is not shorted"
    made = gateway.tick(bar("A", 2, 9 * SECOND, day=20240103))
    assert intents(made) == [("CANCEL", "ord-1", BUY, Decimal("0.5"), MARKET)]


@pytest.mark.parametrize(
    ("books", "says"),
    [
        (account(1, {"A": "7"}), "A: 0 here, 7 at the broker"),
        (account(1, {}, "ord-9"), "order ord-9 works at the broker and not here"),
        (account(1, {"A": "many"}), "A: the broker's quantity 'many' is no number"),
    ],
)
def test_a_difference_is_named_and_holds_until_it_is_gone(books: BrokerAccount, says: str) -> None:
    gateway = Gateway()
    made = gateway.tick()
    assert only(made, GatewayStatus).state == "RECONCILING", "from the first tick on"
    made = gateway.tick(update("", "CONNECTED"), books)
    assert only(made, GatewayStatus)[2:5] == ("RECONCILING", "alpaca", says)
    assert gateway.tick(books) == []
    assert only(gateway.tick(account(2)), GatewayStatus).state == READY


def test_while_ready_a_difference_counts_when_it_is_seen_twice() -> None:
    gateway = Gateway(foreign_positions={"B": Decimal(5)})
    gateway.tick(update("", "CONNECTED"), account(1, {"B": "5"}))
    odd = {"A": "1", "B": "5"}
    assert gateway.tick(account(2, odd)) == []
    assert gateway.tick(account(2, odd)) == [], "the same books told again are seen once"
    assert only(gateway.tick(account(3, odd)), GatewayStatus).state == "RECONCILING"


def test_a_broker_that_is_away_is_down() -> None:
    gateway = Gateway()
    gateway.connect()
    made = gateway.tick(update("", "DISCONNECTED", text="the updates stream is cut"))
    assert only(made, GatewayStatus)[2:5] == ("DOWN", "alpaca", "the updates stream is cut")


def test_a_split_changes_what_the_broker_should_hold() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1))
    gateway.tick(update("ord-1", TRADE, 10, 100, 10))
    split = CorporateAction("s", 0, "SPLIT", "A", 20240103, 0, Decimal(4), None, "USD", "", "test")
    gateway.tick(split, bar("A", 1, 9 * SECOND, day=20240102))
    assert gateway.tick(account(1, {"A": "10"})) == []
    gateway.tick(bar("A", 2, 10 * SECOND, day=20240103))
    assert gateway.tick(account(2, {"A": "40"})) == []
    assert gateway.tick(account(3, {"A": "40"})) == []


def test_a_fill_behind_the_end_moves_money_once() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1))
    assert reports(gateway.tick(update("ord-1", EXPIRED)))[-1] == ("ord-1", EXPIRED, 0, 0)
    late = update("ord-1", TRADE, 4, 100, 4)
    made = gateway.tick(late, late)
    assert reports(made) == [("ord-1", TRADE, 4, 100)]
    assert gateway.tick(account(1, {"A": "4"})) == []


def test_an_idle_tick_writes_nothing() -> None:
    gateway = Gateway()
    gateway.connect()
    gateway.tick(order(1, kind=LIMIT, limit=Decimal(99)), Bar("A", 1, 1, 0, 1.0, 1.0, 1.0, 1.0, 0.0, POST, 1, False))
    assert [gateway.tick() for _ in range(5)] == [[]] * 5
