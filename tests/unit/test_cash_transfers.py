"""Cash transfers: each command and activity is booked once, in all books, and is no profit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from operators.cash_transfers import parse_transfer
from operators.gateway import GatewayStage
from operators.gateway.settings import GatewaySettings
from operators.ledger import Ledger
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.venue import VenueSettings, VenueStage
from schemas.errors import BadInput
from schemas.records import (
    ADJUSTMENT,
    DEPOSIT,
    FEE,
    INTEREST,
    WITHDRAWAL,
    BrokerAccount,
    BrokerActivity,
    CashFlow,
    CashTransfer,
    Command,
    GatewayStatus,
    Record,
    Valuation,
)
from tests.builders import bar, broker_account, broker_update, cash_transfer, execution, valuation

MINUTE = 60_000_000_000


def cash_command(number: int, kind: str, amount: str, **arguments: str) -> Command:
    return Command(
        command_id=f"cmd-{number}",
        ts_ns=number,
        kind="CASH_TRANSFER",
        actor="ann",
        reason="funding",
        arguments={"kind": kind, "amount": amount, **arguments},
    )


def activity(number: int, kind: str, amount: str, text: str = "", currency: str = "USD") -> BrokerActivity:
    return BrokerActivity(
        update_id=f"activity:{number}",
        ts_ns=number,
        broker="alpaca",
        activity_id=str(number),
        activity_type=kind,
        amount=Decimal(amount),
        currency=currency,
        happened_ns=number,
        text=text,
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (cash_command(1, "GIFT", "5"), "kind must be one of"),
        (cash_command(1, DEPOSIT, "0"), "amount must be a number other than 0"),
        (cash_command(1, DEPOSIT, "1e3"), "amount must be a number other than 0"),
        (cash_command(1, DEPOSIT, "--5"), "amount must be a number other than 0"),
        (cash_command(1, DEPOSIT, "-5"), "amount must be above 0"),
        (cash_command(1, WITHDRAWAL, "5"), "amount must be below 0"),
        (cash_command(1, DEPOSIT, "5", currency="EUR"), "currency must be USD"),
    ],
)
def test_an_invalid_command_is_rejected_and_books_nothing(command: Command, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_transfer(command, "USD")
    assert VenueStage(VenueSettings()).on_slice(MINUTE, [command]) == []


def test_a_command_is_one_transfer_at_the_venue_even_after_a_restart() -> None:
    stage = VenueStage(VenueSettings())
    command = cash_command(1, WITHDRAWAL, "-250.5", reference="wire 7")
    [transfer] = stage.on_slice(MINUTE, [command, command])
    assert type(transfer) is CashTransfer
    assert (transfer.seq, transfer.transfer_id, transfer.amount) == (1, "transfer-1", Decimal("-250.5"))
    assert (transfer.reference, transfer.actor, transfer.cause_id) == ("wire 7", "ann", "cmd-1")
    restored = VenueStage(VenueSettings())
    restored.restore(stage.snapshot())
    assert restored.on_slice(2 * MINUTE, [command]) == []
    [second] = restored.on_slice(3 * MINUTE, [cash_command(2, DEPOSIT, "1")])
    assert type(second) is CashTransfer and second.seq == 2


@pytest.mark.parametrize("approvals", [("releases",), ("reconciliation",)])
def test_one_person_cannot_adjust_cash_if_the_settings_require_two(approvals: tuple[str, ...]) -> None:
    alone = cash_command(1, ADJUSTMENT, "-400")
    same_person = cash_command(2, ADJUSTMENT, "-400", requested_by="host:ann")
    both = cash_command(3, ADJUSTMENT, "-400", requested_by="bob")
    deposit = cash_command(4, DEPOSIT, "5")
    for stage in (VenueStage(VenueSettings(), approvals=approvals), GatewayStage(GatewaySettings(approvals=approvals))):
        records = stage.on_slice(MINUTE, [alone, same_person, both, deposit])
        transfers = [record for record in records if type(record) is CashTransfer]
        assert [transfer.cause_id for transfer in transfers] == ["cmd-3", "cmd-4"]
    [transfer] = VenueStage(VenueSettings()).on_slice(MINUTE, [alone])
    assert type(transfer) is CashTransfer, "without the setting, one person adjusts"


LISTED = activity(0, "LISTED", "0")


def gateway_transfers(stage: GatewayStage, *records: Command | BrokerActivity) -> list[CashTransfer]:
    return [record for record in stage.on_slice(MINUTE, list(records)) if type(record) is CashTransfer]


def test_a_request_that_two_persons_approve_at_once_is_booked_once() -> None:
    """Both approvals read the table of commands before it had the other one."""
    agreed = {"requested_by": "bob", "request_id": "cmd-7"}
    first, second = (cash_command(number, ADJUSTMENT, "9", **agreed) for number in (8, 9))
    another = cash_command(10, ADJUSTMENT, "9", **agreed | {"request_id": "cmd-6"})
    approvals = ("reconciliation",)
    for stage in (VenueStage(VenueSettings(), approvals=approvals), GatewayStage(GatewaySettings(approvals=approvals))):
        records = stage.on_slice(MINUTE, [first, second]) + stage.on_slice(2 * MINUTE, [second, another])
        assert [one.cause_id for one in records if type(one) is CashTransfer] == ["cmd-8", "cmd-10"]


def test_activities_of_the_broker_become_transfers_by_their_type_and_sign() -> None:
    stage = GatewayStage(GatewaySettings())
    found = gateway_transfers(
        stage,
        LISTED,
        activity(1, "CSD", "1000"),
        activity(2, "JNLC", "-40"),
        activity(3, "INT", "-1.5"),
        activity(4, "PTC", "-2"),
        activity(5, "DIV", "9"),
        activity(6, "FILL", "-500"),
        activity(7, "CSD", "1000", currency="EUR"),
        activity(8, "CSW", "0"),
    )
    assert [(transfer.kind, transfer.amount) for transfer in found] == [
        (DEPOSIT, Decimal(1000)),
        (WITHDRAWAL, Decimal(-40)),
        (INTEREST, Decimal("-1.5")),
        (FEE, Decimal(-2)),
    ], "dividends and trades have their own records, another currency is a difference"
    restored = GatewayStage(GatewaySettings())
    restored.restore(stage.snapshot())
    assert gateway_transfers(restored, activity(1, "CSD", "1000")) == []


def test_a_regulatory_fee_first_settles_the_estimates_that_the_executions_booked() -> None:
    stage = GatewayStage(GatewaySettings())
    stage._cash.add_fill(Decimal(-10), Decimal(90), Decimal("0.05"))
    assert gateway_transfers(stage, LISTED, activity(1, "FEE", "-0.03", "TAF fee for proceed of 10 shares")) == []
    [rest] = gateway_transfers(stage, activity(2, "FEE", "-0.04", "REG fee for proceed of $900"))
    assert (rest.kind, rest.amount) == (FEE, Decimal("-0.02")), "0.05 of 0.07 were in the books already"
    [other] = gateway_transfers(stage, activity(3, "FEE", "-5", "Wire fee"))
    assert other.amount == Decimal(-5)


def test_activities_from_before_the_platform_are_part_of_its_initial_capital() -> None:
    """They may arrive in several time slices and again after a restart; the first complete list ends them."""
    stage = GatewayStage(GatewaySettings())
    assert gateway_transfers(stage, activity(1, "CSD", "1000")) == []
    restored = GatewayStage(GatewaySettings())
    restored.restore(stage.snapshot())
    [later] = gateway_transfers(restored, LISTED, activity(1, "CSD", "1000"), activity(2, "CSD", "7"))
    assert later.amount == 7


def account(number: int, cash: str, **positions: str) -> BrokerAccount:
    return broker_account(number, positions)._replace(cash=Decimal(cash))


CONNECTED_UPDATE = broker_update("", "CONNECTED")


def status_of(stage: GatewayStage, *records: Record) -> tuple[str, str] | None:
    """Return the last new status of the gateway, as state and reason."""
    found = [r for r in stage.on_slice(MINUTE, list(records)) if type(r) is GatewayStatus]
    return (found[-1].state, found[-1].reason) if found else None


def test_a_difference_of_cash_blocks_orders_until_the_books_have_it() -> None:
    settings = GatewaySettings(initial_cash=Decimal(1000), cash_tolerance=Decimal(1), foreign_cash=Decimal(50))
    stage = GatewayStage(settings)
    status_of(stage, CONNECTED_UPDATE)
    assert status_of(stage, account(1, "1050.99")) == ("READY", "positions and open orders match")
    assert status_of(stage, account(2, "1450")) is None, "one snapshot may be older than a report"
    restored = GatewayStage(settings)
    restored.restore(stage.snapshot())
    difference = "cash: 400 USD more at the broker than here"
    assert status_of(restored, account(3, "1450")) == ("RECONCILING", difference)
    assert status_of(restored, LISTED, activity(1, "CSD", "400"), account(4, "1450")) is not None
    assert restored._cash.difference == 0


def test_the_books_are_those_of_the_last_valuation_with_this_time_slice() -> None:
    settings = GatewaySettings(initial_cash=Decimal(1000), cash_tolerance=Decimal(0))
    stage = GatewayStage(settings)
    status_of(stage, CONNECTED_UPDATE)
    dividend = valuation(1, MINUTE, 1005)  # 5 of dividends, which only the portfolio books
    assert status_of(stage, dividend, account(1, "1005")) == ("READY", "positions and open orders match")
    assert status_of(stage, cash_command(1, WITHDRAWAL, "-5"), account(2, "1000")) is None
    assert stage._cash.difference == 0


def test_fees_that_the_broker_has_not_charged_yet_are_no_difference() -> None:
    stage = GatewayStage(GatewaySettings(initial_cash=Decimal(1000), cash_tolerance=Decimal(0)))
    stage._cash.add_fill(Decimal(-1), Decimal(100), Decimal("0.02"))
    assert stage._cash.compare(account(1, "1100")) == "", "not charged yet"
    assert stage._cash.compare(account(1, "1099.98")) == "", "charged"
    assert stage._cash.compare(account(1, "1100.01")) == "cash: 0.01 USD more at the broker than here"
    assert stage._cash.compare(account(1, "1099")) == "cash: 0.98 USD less at the broker than here"


def test_the_ledger_separates_capital_from_performance() -> None:
    ledger = Ledger(Decimal(1000))
    flows = [
        ledger.book_transfer(1, cash_transfer(1, DEPOSIT, 500)),
        ledger.book_transfer(1, cash_transfer(2, FEE, "-3")),
        ledger.book_transfer(1, cash_transfer(3, INTEREST, "1.25")),
        ledger.book_transfer(1, cash_transfer(4, ADJUSTMENT, "-7")),
        ledger.book_transfer(1, cash_transfer(5, WITHDRAWAL, "-200")),
    ]
    assert (ledger.cash, ledger.net_flows, ledger.income) == (Decimal("1291.25"), Decimal(293), Decimal("-1.75"))
    assert [(flow.kind, flow.amount, flow.cause_id) for flow in flows][:2] == [
        (DEPOSIT, Decimal(500), "transfer-1"),
        (FEE, Decimal(-3), "transfer-2"),
    ]
    restored = Ledger(Decimal(0))
    restored.restore(ledger.snapshot())
    assert restored.snapshot() == ledger.snapshot()


def test_the_portfolio_books_a_transfer_before_the_trades_of_its_time_slice_and_values_it() -> None:
    stage = PortfolioStage(PortfolioSettings(initial_capital=Decimal(1000)))
    out = stage.on_slice(MINUTE, [execution(1, MINUTE, "A", 1, 100), cash_transfer(2, DEPOSIT, 500, ts_ns=MINUTE)])
    assert type(out[0]) is CashFlow and out[0].kind == DEPOSIT, "cash flows come before the trades"
    [valuation] = [record for record in out if type(record) is Valuation]
    assert valuation.net_flows == 500 and valuation.equity == 1500 - valuation.fees
    assert valuation.realized_pnl == 0, "a deposit is no profit"
    [later] = [r for r in stage.on_slice(2 * MINUTE, [cash_transfer(3, WITHDRAWAL, "-600")]) if type(r) is Valuation]
    assert later.net_flows == -100, "a time slice with only a transfer has a valuation"
    [marked] = [r for r in stage.on_slice(3 * MINUTE, [bar("A", 1, 3 * MINUTE, close=110.0)]) if type(r) is Valuation]
    assert marked.equity == valuation.equity - 600 + 10
