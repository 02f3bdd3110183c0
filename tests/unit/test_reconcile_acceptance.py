"""`ACCEPT_POSITION`: the broker's position is taken over as a record, only as it was accepted, and only once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.adjustments import PositionDifference, is_adjustment, parse_difference
from operators.gateway import GatewaySettings, GatewayStage
from operators.ledger import Ledger
from operators.money import ZERO
from operators.risk import RiskSettings, RiskStage
from schemas.errors import BadInput
from schemas.records import (
    ACCEPT_POSITION,
    BUY,
    READY,
    REJECTED,
    SELL,
    TRADE,
    Command,
    Execution,
    GatewayStatus,
    Lot,
    LotMatch,
)
from tests.builders import broker_account, broker_update, command, order
from tests.unit.gateway_harness import GatewayHarness, only


def accept(
    number: int, platform: str, broker: str, *, price: str = "101.5", symbol: str = "AAPL", **arguments: str
) -> Command:
    difference = PositionDifference(symbol, Decimal(platform), Decimal(broker), Decimal(price))
    return command(f"cmd-{number}", 0, ACCEPT_POSITION, {**difference.arguments(), **arguments}, actor="host:ann")


def bought(quantity: int = 10, **settings: Any) -> GatewayHarness:
    """A gateway whose account holds `quantity` shares that it has bought."""
    gateway = GatewayHarness(**settings)
    gateway.connect()
    gateway.step(order(1, quantity=quantity))
    gateway.step(broker_update("ord-1", TRADE, quantity, 100, quantity))
    gateway.step(broker_account(1, {"AAPL": str(quantity)}))
    return gateway


def differing(broker: str, **settings: Any) -> GatewayHarness:
    """A gateway with 10 shares whose broker reports another quantity in two snapshots."""
    gateway = bought(**settings)
    positions = {"AAPL": broker} if broker != "0" else {}
    gateway.step(broker_account(2, positions))
    assert only(gateway.step(broker_account(3, positions)), GatewayStatus).state == "RECONCILING"
    return gateway


@pytest.mark.parametrize(
    ("broker", "side", "quantity"), [("4", SELL, 6), ("15", BUY, 5), ("0", SELL, 10), ("-3", SELL, 13)]
)
def test_an_accepted_position_is_booked_as_a_trade_without_an_order(broker: str, side: str, quantity: int) -> None:
    gateway = differing(broker)
    adjustment = only(gateway.step(accept(7, "10", broker)), Execution)
    assert (adjustment.exec_type, adjustment.side, adjustment.quantity) == (TRADE, side, quantity)
    assert (adjustment.price, adjustment.fee, adjustment.leaves_quantity) == (Decimal("101.5"), 0, 0)
    assert (adjustment.order_id, adjustment.cause_id) == ("adj-cmd-7", "cmd-7")
    assert is_adjustment(adjustment.execution_id) and "host:ann" in adjustment.text
    assert gateway.stage.positions.get("AAPL", ZERO) == Decimal(broker)


def test_only_a_fresh_account_snapshot_ends_the_reconciliation() -> None:
    gateway = differing("4")
    assert not [one for one in gateway.step(accept(7, "10", "4")) if isinstance(one, GatewayStatus)]
    assert gateway.step(broker_account(3, {"AAPL": "4"})) == [], "a repeated snapshot proves nothing"
    assert only(gateway.step(broker_account(4, {"AAPL": "4"})), GatewayStatus).state == READY


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([accept(7, "9", "4")], "the position of AAPL is 10 here now, 9 when it was accepted"),
        ([accept(7, "10", "5")], "the position of AAPL is 4 at the broker now, 5 when it was accepted"),
        ([accept(7, "10", "4", price="0")], "price must be above 0, found 0"),
        ([command("cmd-7", 0, ACCEPT_POSITION, {"symbol": "AAPL"})], "platform_quantity must be a number"),
        ([command("cmd-7", 0, ACCEPT_POSITION, {})], "symbol must be 1 to 64 printable ASCII characters"),
    ],
)
def test_a_position_is_not_taken_over_if_it_is_not_what_was_accepted(records: list[Command], reason: str) -> None:
    gateway = differing("4")
    report = only(gateway.step(*records), Execution)
    assert (report.exec_type, report.order_id, report.quantity) == (REJECTED, "adj-cmd-7", 0)
    assert reason in report.text
    assert gateway.stage.positions == {"AAPL": Decimal(10)}


def test_a_duplicate_command_is_booked_once() -> None:
    gateway = differing("4")
    first = only(gateway.step(accept(7, "10", "4"), accept(7, "10", "4")), Execution)
    assert first.exec_type == TRADE
    assert gateway.step(accept(7, "10", "4")) == []


def test_a_position_with_an_order_at_the_broker_is_not_taken_over() -> None:
    gateway = differing("4")
    gateway.step(order(2, SELL, 10, limit_price=200))
    report = only(gateway.step(accept(7, "10", "4")), Execution)
    assert "order ord-2 of AAPL works at the broker: cancel it first" in report.text
    gateway.step(broker_update("ord-2", "CANCELED"))
    assert only(gateway.step(accept(8, "10", "4")), Execution).exec_type == TRADE


def test_a_position_is_not_taken_over_while_the_broker_is_disconnected() -> None:
    gateway = differing("4")
    gateway.step(broker_update("", "DISCONNECTED"))
    assert "no account snapshot" in only(gateway.step(accept(7, "10", "4")), Execution).text
    gateway.step(broker_update("", "CONNECTED"))
    assert "no account snapshot" in only(gateway.step(accept(8, "10", "4")), Execution).text


def test_foreign_units_are_part_of_neither_book() -> None:
    gateway = bought(foreign_positions={"AAPL": Decimal(3)})
    gateway.step(broker_account(2, {"AAPL": "20"}))
    adjustment = only(gateway.step(accept(7, "13", "20")), Execution)
    assert adjustment.quantity == 7 and gateway.stage.positions == {"AAPL": Decimal(17)}


@pytest.mark.parametrize("approvals", [("releases",), ("reconciliation",)])
def test_one_person_cannot_accept_a_position_if_the_settings_require_two(approvals: tuple[str, ...]) -> None:
    gateway = differing("4", approvals=approvals)
    assert "second person" in only(gateway.step(accept(7, "10", "4")), Execution).text
    same = accept(8, "10", "4", requested_by="host:ann")
    assert "second person" in only(gateway.step(same), Execution).text
    assert only(gateway.step(accept(9, "10", "4", requested_by="bob")), Execution).exec_type == TRADE


def test_the_ledger_marks_the_lots_and_matches_of_an_adjustment() -> None:
    gateway = differing("15")
    opened = only(gateway.step(accept(7, "10", "15")), Execution)
    gateway.step(broker_account(4, {"AAPL": "2"}))
    closed = only(gateway.step(accept(8, "15", "2", price="90")), Execution)
    ledger = Ledger(Decimal(10_000))
    lots = [one for one in ledger.apply(opened) if isinstance(one, Lot)]
    assert [(one.quantity, one.price, one.execution_id) for one in lots] == [
        (Decimal(5), Decimal("101.5"), opened.execution_id)
    ]
    assert lots[0].opened_ns == opened.ts_ns, "the date of the adjustment"
    matches = [one for one in ledger.apply(closed) if isinstance(one, LotMatch)]
    assert [one.close_execution_id for one in matches] == [closed.execution_id] and matches[0].exit_price == 90
    assert ledger.quantity("AAPL") == -8


def test_risk_books_the_position_but_counts_no_order() -> None:
    gateway = differing("4")
    adjustment = only(gateway.step(accept(7, "10", "4")), Execution)
    risk = RiskStage(RiskSettings.unlimited(initial_capital=Decimal(10_000)))
    risk.on_slice(1, [adjustment])
    assert risk.book.quantity("AAPL") == -6 and risk.book.cash == Decimal(10_000) + 6 * Decimal("101.5")


def test_a_snapshot_of_the_last_release_is_restored() -> None:
    gateway = bought()
    version, *parts, acceptance, emulated_stops = gateway.stage.snapshot()
    assert version == 4 and acceptance == emulated_stops == []
    *before, reconciliation, cash = parts
    old = (2, *before, reconciliation[:6], cash)
    restored = GatewayStage(GatewaySettings())
    restored.restore(old)
    report = [one for one in restored.on_slice(10**12, [accept(7, "10", "4")]) if isinstance(one, Execution)]
    assert "no account snapshot" in report[0].text and restored.positions == {"AAPL": Decimal(10)}


@pytest.mark.parametrize("text", ["1e5", "nan", "", "1.0000000001", "--1", "١"])
def test_a_malformed_quantity_is_rejected(text: str) -> None:
    arguments = {"symbol": "A", "platform_quantity": text, "broker_quantity": "1", "price": "1"}
    with pytest.raises(BadInput, match="platform_quantity"):
        parse_difference(arguments)
