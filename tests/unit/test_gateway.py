"""The gateway in single cases."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.instruments import CRYPTO, Instrument, Instruments
from schemas.records import (
    BUY,
    CANCELED,
    CASH_DIVIDEND,
    CLS,
    DAY,
    EXPIRED,
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    NEW,
    OPG,
    POST,
    READY,
    REJECTED,
    REPLACED,
    RIGHTS,
    SELL,
    SPIN_OFF,
    SPLIT,
    STOP,
    TRADE,
    BrokerAccount,
    CorporateActionKind,
    Execution,
    GatewayStatus,
    OrderIntent,
    Record,
)
from tests.builders import bar, broker_account, broker_update, corporate_action, fence, order, quote
from tests.unit.gateway_harness import SECOND_NS, GatewayHarness, intents, only, reports


def test_out_of_order_fills_are_each_booked_once() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, quantity=30))
    second = broker_update("ord-1", TRADE, 10, 102, 20)
    assert reports(gateway.step(second, second)) == [("ord-1", NEW, 0, 0), ("ord-1", TRADE, 10, 102)]
    assert reports(gateway.step(broker_update("ord-1", TRADE, 10, 101, 10))) == [("ord-1", TRADE, 10, 101)]
    output = gateway.step(broker_update("ord-1", "ORDER", 30, "101.1", 30, text="filled"))
    assert reports(output) == [("ord-1", TRADE, 10, Decimal("100.3"))]
    assert "fill report is missing" in only(output, Execution).text
    assert reports(gateway.step(broker_update("ord-1", TRADE, 10, "100.3", 30))) == []


def test_a_cancel_waits_for_the_fills_that_the_broker_counts() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    assert reports(gateway.step(broker_update("ord-1", CANCELED, filled=4))) == [("ord-1", NEW, 0, 0)]
    output = gateway.step(broker_update("ord-1", TRADE, 4, 100, 4))
    assert reports(output) == [("ord-1", TRADE, 4, 100), ("ord-1", CANCELED, 0, 0)]


def test_an_order_in_doubt_is_not_rejected_and_nothing_new_is_approved() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    output = gateway.step(broker_update("ord-1", "UNKNOWN", text="no answer within 5 s"))
    assert reports(output) == []
    reason = "status of order ord-1 is unknown: no answer within 5 s"
    assert only(output, GatewayStatus)[2:5] == ("RECONCILING", "alpaca", reason)
    output = gateway.step(broker_update("ord-1", NEW))
    assert reports(output) == [("ord-1", NEW, 0, 0)]
    assert only(output, GatewayStatus).state == READY


def test_an_order_that_would_cross_zero_closes_first_then_opens() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    assert intents(gateway.step(order(2, SELL, 25))) == [("SUBMIT", "ord-2", SELL, 10, MARKET)]
    output = gateway.step(broker_update("ord-2", TRADE, 10, 101, 10))
    assert intents(output) == [("SUBMIT", "ord-2.2", SELL, 15, MARKET)]
    assert "sent as two orders, one to close and one to open" in only(output, OrderIntent).emulated
    assert reports(output)[-1] == ("ord-2", TRADE, 10, 101)
    output = gateway.step(broker_update("ord-2.2", TRADE, 15, 101, 15))
    assert [one.leaves_quantity for one in output if isinstance(one, Execution)] == [0]


def test_fence_rejects_older_epochs_and_cancels_working_orders() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    output = gateway.step(fence(2, epoch=1, reason="by hand"), order(3), order(4, risk_epoch=1))
    assert intents(output) == [("CANCEL", "ord-1", BUY, 10, MARKET)]
    texts = [(one.order_id, one.exec_type, one.text) for one in output if isinstance(one, Execution)]
    assert texts == [
        ("ord-3", REJECTED, "risk epoch 0 is older than the current risk epoch 1"),
        ("ord-4", REJECTED, "trading has been halted since risk epoch 1"),
    ]
    output = gateway.step(broker_update("ord-1", CANCELED))
    assert only(output, Execution).text == "halted by risk epoch 1: by hand"


def test_a_fill_in_a_group_cancels_the_others_and_a_child_waits_for_its_parent() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    take = order(2, SELL, limit_price=110, group_id="g", parent_id="prop-1")
    stop = order(3, SELL, stop_price=90, group_id="g", parent_id="prop-1")
    output = gateway.step(order(1), take, stop)
    assert [one[1] for one in intents(output)] == ["ord-1"]
    output = gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    # The broker takes both as one OCO order, whose stop works while the platform is down.
    assert intents(output) == [("SUBMIT", "ord-2", SELL, 10, LIMIT)]
    intent = only(output, OrderIntent)
    assert (intent.stop_client_order_id, intent.stop_loss_price, intent.stop_loss_limit_price) == ("ord-3", 90, None)
    output = gateway.step(broker_update("ord-2", TRADE, 10, 110, 10))
    assert intents(output) == [("CANCEL", "ord-3", SELL, 10, STOP)]
    output = gateway.step(broker_update("ord-3", CANCELED))
    assert reports(output)[-1] == ("ord-3", CANCELED, 0, 0)
    assert gateway.stage.positions == {}


def test_an_amended_exit_of_a_filled_entry_is_sent() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1), order(2, SELL, limit_price=110, parent_id="prop-1"))
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    output = gateway.step(order(3, SELL, limit_price=120, parent_id="prop-1", replaces="ord-2"))
    assert intents(output) == [("CANCEL", "ord-2", SELL, 10, LIMIT)]
    output = gateway.step(broker_update("ord-2", CANCELED))
    assert intents(output) == [("SUBMIT", "ord-3", SELL, 10, LIMIT)]
    assert reports(output) == [("ord-2", REPLACED, 0, 0)]


def test_an_amended_exit_waits_for_its_entry() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1), order(2, SELL, limit_price=110, parent_id="prop-1"))
    output = gateway.step(order(3, SELL, limit_price=120, parent_id="prop-1", replaces="ord-2"))
    assert intents(output) == [] and ("ord-2", REPLACED, 0, 0) in reports(output)
    output = gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    assert intents(output) == [("SUBMIT", "ord-3", SELL, 10, LIMIT)]


def test_amended_order_continues_after_the_fills_of_the_original() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, limit_price=99))
    gateway.step(broker_update("ord-1", TRADE, 4, 99, 4))
    output = gateway.step(order(2, limit_price=101, replaces="ord-1"))
    assert intents(output) == [("CANCEL", "ord-1", BUY, 10, LIMIT)]
    output = gateway.step(broker_update("ord-1", CANCELED, filled=4))
    assert intents(output) == [("SUBMIT", "ord-2", BUY, 6, LIMIT)]
    assert reports(output) == [("ord-1", REPLACED, 0, 0)]
    output = gateway.step(broker_update("ord-2", TRADE, 6, 101, 6))
    assert (only(output, Execution).cum_quantity, only(output, Execution).leaves_quantity) == (10, 0)


def test_good_till_date_is_cancelled_by_the_gateway() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    output = gateway.step(order(1, limit_price=99, time_in_force=GTD, expires_ns=5 * SECOND_NS))
    assert (only(output, OrderIntent).terms.time_in_force, only(output, OrderIntent).emulated != "") == (GTC, True)
    assert intents(gateway.step(seconds=2)) == []
    assert intents(gateway.step()) == [("CANCEL", "ord-1", BUY, 10, LIMIT)]


def test_reduce_only_never_exceeds_the_open_position() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, quantity=3))
    gateway.step(broker_update("ord-1", TRADE, 3, 100, 3))
    assert intents(gateway.step(order(2, SELL, 10, reduce_only=True))) == [("SUBMIT", "ord-2", SELL, 3, MARKET)]
    output = gateway.step(broker_update("ord-2", TRADE, 3, 100, 3))
    assert reports(output) == [("ord-2", NEW, 0, 0), ("ord-2", TRADE, 3, 100), ("ord-2", CANCELED, 0, 0)]


def test_in_extended_hours_a_market_order_is_a_limit_and_the_gateway_triggers_stops() -> None:
    gateway = GatewayHarness(extended_hours=True)
    gateway.connect()
    post = bar("AAPL", 1, 3 * SECOND_NS, session=POST)
    gateway.step(post)
    output = gateway.step(order(1))
    intent = only(output, OrderIntent)
    assert (intent.terms.order_type, intent.terms.limit_price, intent.extended_hours) == (LIMIT, Decimal("100.5"), True)
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    output = gateway.step(order(2, SELL, trail_amount=2))
    assert intents(output) == [] and only(output, Execution).text == "the gateway triggers the stop"
    assert intents(gateway.step(quote("AAPL", 1, 0, 100.0, 100.1))) == []
    assert intents(gateway.step(quote("AAPL", 2, 0, 103.0, 103.1))) == []
    output = gateway.step(quote("AAPL", 3, 0, 101.0, 101.1))
    assert intents(output) == [("SUBMIT", "ord-2", SELL, 10, LIMIT)]


def test_crypto_day_orders_are_emulated_and_short_sales_rejected() -> None:
    pair = Instruments(listed=(Instrument(symbol="AAPL", asset_class=CRYPTO, lot_size=Decimal("0.0001")),))
    gateway = GatewayHarness(instruments=pair)
    gateway.connect()
    gateway.step(bar("AAPL", 1, SECOND_NS))
    output = gateway.step(order(1, quantity="0.5"))
    assert only(output, OrderIntent).terms.time_in_force == GTC
    output = gateway.step(order(2, SELL, "0.5"))
    assert reports(output) == [("ord-2", REJECTED, 0, 0)], "nothing to sell, and crypto is not shorted"
    output = gateway.step(bar("AAPL", 2, 9 * SECOND_NS, day=20240103))
    assert intents(output) == [("CANCEL", "ord-1", BUY, Decimal("0.5"), MARKET)]


@pytest.mark.parametrize(
    ("quantity", "terms", "sent"),
    [
        ("0.5", {"time_in_force": DAY}, GTC),
        ("0.5", {"time_in_force": IOC}, IOC),
        ("0.5", {"time_in_force": FOK}, "the broker has no FOK orders (all or nothing) for crypto"),
        ("0.5", {"time_in_force": CLS}, "the broker has no CLS orders (an auction) for crypto"),
        ("0.5", {"time_in_force": OPG}, "the broker has no OPG orders (an auction) for crypto"),
        ("0.5", {"limit_price": "100.000001"}, GTC),
    ],
)
def test_crypto_gets_a_time_in_force_that_the_broker_takes(quantity: str, terms: dict[str, Any], sent: str) -> None:
    gateway = GatewayHarness(instruments=Instruments())
    gateway.connect()
    output = gateway.step(order(1, quantity=quantity, symbol="BTC/USD", **terms))
    assert_sent_or_rejected(output, sent)


@pytest.mark.parametrize(
    ("quantity", "terms", "sent"),
    [
        ("2.5", {"limit_price": 99, "time_in_force": GTC}, DAY),
        ("2.5", {"time_in_force": GTD, "expires_ns": 10**15}, DAY),
        ("2.5", {"time_in_force": IOC}, "the broker takes fractions of a share in DAY orders only, found 2.5 with IOC"),
        ("2.5", {"time_in_force": CLS}, "the broker takes fractions of a share in DAY orders only, found 2.5 with CLS"),
        ("2", {"limit_price": "41.085"}, "the broker takes prices in steps of 0.01, found limit_price 41.085"),
        ("2", {"stop_price": "141.001"}, "the broker takes prices in steps of 0.01, found stop_price 141.001"),
        ("2", {"limit_price": "0.12345"}, "the broker takes prices in steps of 0.0001, found limit_price 0.12345"),
        ("2", {"limit_price": "0.1234", "time_in_force": OPG}, OPG),
    ],
)
def test_shares_are_sent_as_the_broker_takes_them_or_rejected_here(
    quantity: str, terms: dict[str, Any], sent: str
) -> None:
    gateway = GatewayHarness()
    gateway.connect()
    assert_sent_or_rejected(gateway.step(order(1, quantity=quantity, **terms)), sent)


def test_a_lasting_order_for_a_fraction_is_sent_again_after_each_day() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, quantity="2.5", limit_price=99, time_in_force=GTC))
    gateway.step(broker_update("ord-1", TRADE, 1, 99, 1))
    output = gateway.step(broker_update("ord-1", EXPIRED, filled=1))
    assert intents(output) == [("SUBMIT", "ord-1.2", BUY, Decimal("1.5"), LIMIT)]
    assert only(output, OrderIntent).terms.time_in_force == DAY
    gateway.step(order(2, quantity="2.5", limit_price=99, time_in_force=DAY))
    output = gateway.step(broker_update("ord-2", EXPIRED))
    assert intents(output) == [] and reports(output)[-1] == ("ord-2", EXPIRED, 0, 0)


def test_exits_with_a_price_that_the_broker_rejects_form_no_oco_order() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    exits: dict[str, Any] = {"group_id": "g", "reduce_only": True, "time_in_force": GTC}
    output = gateway.step(order(2, SELL, limit_price="110.005", **exits), order(3, SELL, stop_price=90, **exits))
    assert ("ord-2", REJECTED, 0, 0) in reports(output)
    assert intents(output) == [("SUBMIT", "ord-3", SELL, 10, STOP)]


def assert_sent_or_rejected(output: list[Record], sent: str) -> None:
    """Check the time in force that was sent, or the start of the reason of the rejection."""
    if len(sent) == 3:
        assert only(output, OrderIntent).terms.time_in_force == sent
        return
    rejection = only(output, Execution)
    assert rejection.exec_type == REJECTED and rejection.text.startswith(sent) and intents(output) == []


@pytest.mark.parametrize(
    ("reported_account", "reason"),
    [
        (broker_account(1, {"AAPL": "7"}), "AAPL: position is 0 here, 7 at the broker"),
        (broker_account(1, open_orders=["ord-9"]), "order ord-9 is open at the broker but not here"),
        (broker_account(1, {"AAPL": "many"}), "AAPL: quantity 'many' at the broker is not a number"),
    ],
)
def test_difference_to_the_broker_is_reported_until_resolved(reported_account: BrokerAccount, reason: str) -> None:
    gateway = GatewayHarness()
    output = gateway.step()
    assert only(output, GatewayStatus).state == "RECONCILING", "from the first time slice on"
    output = gateway.step(broker_update("", "CONNECTED"), reported_account)
    assert only(output, GatewayStatus)[2:5] == ("RECONCILING", "alpaca", reason)
    assert gateway.step(reported_account) == []
    assert only(gateway.step(broker_account(2)), GatewayStatus).state == READY


def test_difference_while_ready_counts_when_seen_twice() -> None:
    gateway = GatewayHarness(foreign_positions={"B": Decimal(5)})
    gateway.step(broker_update("", "CONNECTED"), broker_account(1, {"B": "5"}))
    unexpected_positions = {"AAPL": "1", "B": "5"}
    assert gateway.step(broker_account(2, unexpected_positions)) == []
    assert gateway.step(broker_account(2, unexpected_positions)) == [], "a repeated account report counts once"
    assert only(gateway.step(broker_account(3, unexpected_positions)), GatewayStatus).state == "RECONCILING"


def test_disconnected_broker_gives_status_down() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    output = gateway.step(broker_update("", "DISCONNECTED", text="the updates stream is cut"))
    assert only(output, GatewayStatus)[2:5] == ("DOWN", "alpaca", "the updates stream is cut")


def test_split_adjusts_the_expected_broker_position() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    gateway.step(broker_update("ord-1", TRADE, 10, 100, 10))
    split = corporate_action("s", SPLIT, "AAPL", ex_date=20240103, ratio=4)
    gateway.step(split, bar("AAPL", 1, 9 * SECOND_NS, day=20240102))
    assert gateway.step(broker_account(1, {"AAPL": "10"})) == []
    gateway.step(bar("AAPL", 2, 10 * SECOND_NS, day=20240103))
    assert gateway.step(broker_account(2, {"AAPL": "40"})) == []
    assert gateway.step(broker_account(3, {"AAPL": "40"})) == []


@pytest.mark.parametrize("kind", [SPIN_OFF, RIGHTS])
def test_a_distribution_cancels_the_orders_of_the_symbol_as_at_the_venue(kind: CorporateActionKind) -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(
        order(1, order_type=LIMIT, limit_price=95, time_in_force=GTC),
        order(2, SELL, order_type=STOP, stop_price=90, time_in_force=GTC, parent_id="prop-1", reduce_only=True),
        order(3, symbol="B", order_type=LIMIT, limit_price=95, time_in_force=GTC),
    )
    dividend = corporate_action("d", CASH_DIVIDEND, "AAPL", amount=1)
    assert gateway.step(dividend) == []
    action = corporate_action("s", kind, "AAPL", new_symbol="NEW", ratio=0.5, cost_share=0.2)
    output = gateway.step(action)
    assert intents(output) == [("CANCEL", "ord-1", BUY, 10, LIMIT)]
    assert [(one.order_id, one.exec_type) for one in output if isinstance(one, Execution)] == [("ord-2", CANCELED)]
    ended = only(gateway.step(broker_update("ord-1", CANCELED)), Execution)
    assert (ended.order_id, ended.exec_type) == ("ord-1", CANCELED) and "AAPL" in ended.text
    assert list(gateway.stage.open_orders) == ["ord-3"]


def test_fill_after_the_final_report_is_booked_once() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1))
    assert reports(gateway.step(broker_update("ord-1", EXPIRED)))[-1] == ("ord-1", EXPIRED, 0, 0)
    late = broker_update("ord-1", TRADE, 4, 100, 4)
    output = gateway.step(late, late)
    assert reports(output) == [("ord-1", TRADE, 4, 100)]
    assert gateway.step(broker_account(1, {"AAPL": "4"})) == []


def test_an_idle_slice_writes_nothing() -> None:
    gateway = GatewayHarness()
    gateway.connect()
    gateway.step(order(1, limit_price=99), bar("AAPL", 1, 1, session=POST, traded=False))
    assert [gateway.step() for _ in range(5)] == [[]] * 5
