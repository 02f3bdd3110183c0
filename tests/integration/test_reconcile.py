"""A position that was changed at the broker: halt, `reconcile show`, `reconcile accept`, and clean books again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text

from api.app import create_app
from api.roles import Role
from configs.settings import Settings, load_settings
from dataflows.sources.unclocked_topic import read_unclocked
from deploy.verification.broker import check_broker
from deploy.verification.orders import ClockCut, check_orders
from operators.gateway import GatewayStage
from operators.ledger import Ledger
from operators.risk import RiskStage
from schemas.records import (
    ACCEPT_POSITION,
    TRADE,
    BrokerAccount,
    CashTransfer,
    Command,
    Execution,
    GatewayStatus,
    Record,
)
from sinks.database import sqlalchemy_url
from sinks.postgres import PostgresWriter
from tests.builders import broker_account, broker_update, order, proposal, valuation
from tests.integration.api_users import bearer, token_of
from tests.integration.recorded_platform import cli, make_topics

API = "/api/v1/risk/reconciliation"
SECOND_NS = 10**9


class Platform(NamedTuple):
    """The gateway, the ledger and risk on the real topics and tables: each step does what their services do."""

    settings: Settings
    home: Path
    client: TestClient
    environment: dict[str, str]
    gateway: GatewayStage
    ledger: Ledger
    risk: RiskStage
    log: list[list[Record]]

    def headers(self, name: str) -> dict[str, str]:
        return bearer(token_of(self.client.app, Role.RISK, name))  # type: ignore[arg-type]

    def commands(self) -> list[Command]:
        records = read_unclocked(self.settings.kafka, "commands")
        return [record for record in records if isinstance(record, Command)]

    def step(self, *records: Record) -> list[Record]:
        """Run one time slice with the records and all commands of the topic that no slice has had."""
        seen = {one.command_id for records_of_slice in self.log for one in records_of_slice if isinstance(one, Command)}
        commands = [command for command in self.commands() if command.command_id not in seen]
        self.log.append([*commands, *records])
        ts_ns = len(self.log) * SECOND_NS
        output = self.gateway.on_slice(ts_ns, self.log[-1])
        executions = [record for record in output if isinstance(record, Execution)]
        self.risk.on_slice(ts_ns, output)
        changes = [change for execution in executions for change in self.ledger.apply(execution)]
        with closing(PostgresWriter(self.settings.database.postgres.url, name="test")) as writer:
            writer.write([*commands, *records, *output, *changes])
        return output

    def is_blocked(self) -> bool:
        """Whether risk rejects orders because the books differ."""
        return bool(self.risk.book.reconciling)

    def cli(self, *arguments: str) -> Any:
        return cli(self.home, *arguments, **self.environment)

    def accept(self, name: str, **body: Any) -> Any:
        return self.client.post(f"{API}/accept", json={"reason": "sold by hand", **body}, headers=self.headers(name))

    def approve(self, name: str, request_id: str) -> Any:
        return self.client.post(f"/api/v1/risk/releases/{request_id}/approve", headers=self.headers(name))

    def account(self, quantity: str) -> BrokerAccount:
        number = len(self.log) + 1
        positions = {} if quantity == "0" else {"AAPL": quantity}
        prices = dict.fromkeys(positions, "101.25")
        return broker_account(number, positions)._replace(ts_ns=number * SECOND_NS, average_prices=prices)

    def differ(self, quantity: str) -> None:
        """The broker reports this quantity in two snapshots."""
        self.step(self.account(quantity))
        statuses = [one for one in self.step(self.account(quantity)) if isinstance(one, GatewayStatus)]
        assert [one.state for one in statuses] == ["RECONCILING"] and self.is_blocked()


@pytest.fixture(scope="module")
def platform(
    database_url: str, redis_url: str, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("home")
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": make_topics(kafka),
        "RISK_MANAGER__APPROVALS": "[reconciliation]",
        "EXECUTION__BROKER": "alpaca",
        "EXECUTION__ALPACA__CASH_TOLERANCE": "unlimited",  # these accounts have no cash
        "ALPACA__URL": "http://localhost:1",
    }
    settings = load_settings(environment=environment)
    stages = (GatewayStage(settings.gateway()), Ledger(Decimal(100_000)), RiskStage(settings.risk()))
    with TestClient(create_app(settings, home=home)) as client:
        one = Platform(settings, home, client, environment, *stages, [])
        one.step(broker_update("", "CONNECTED"), one.account("0"))
        one.step(proposal(quantity=10), order(1, quantity=10))
        one.step(broker_update("ord-1", TRADE, 10, 100, 10))
        one.step(one.account("10"))
        yield one


def test_a_position_changed_at_the_broker_is_shown_accepted_and_verified(platform: Platform) -> None:
    url = platform.settings.database.postgres.url
    assert not platform.is_blocked()
    platform.differ("4")
    assert check_broker(url, {}).difference is not None
    shown = platform.cli("reconcile", "show", "--json")
    assert shown.returncode == 1, shown.stderr
    found = json.loads(shown.stdout)
    row = {"symbol": "AAPL", "platform_quantity": "10", "broker_quantity": "4", "average_price": "101.25"}
    assert found["state"] == "RECONCILING" and found["positions"] == [row]

    unknown = platform.accept("ann", symbol="APL")
    assert unknown.status_code == 404 and "Symbols with a difference: AAPL" in unknown.json()["detail"]
    requested = platform.cli("reconcile", "accept", "AAPL", "--reason", "sold by hand")
    assert requested.returncode == 0, requested.stderr
    assert "AAPL: 10 here, 4 at the broker: sell 6 at 101.25" in requested.stdout
    request = platform.commands()[-1]
    assert request.actor.startswith("host:") and f"reconcile approve {request.command_id}" in requested.stdout
    assert [one for one in platform.step() if isinstance(one, Execution)] == [], "a second person must approve it"
    assert platform.approve("bob", request.command_id).status_code == 202
    [adjustment] = [one for one in platform.step() if isinstance(one, Execution)]
    assert (adjustment.quantity, adjustment.price) == (Decimal(6), Decimal("101.25"))
    assert platform.risk.book.quantity("AAPL") == platform.ledger.quantity("AAPL") == 4
    assert platform.is_blocked(), "only a fresh snapshot ends it"
    platform.step(platform.account("4"))
    assert not platform.is_blocked()
    assert check_broker(url, {}).difference is None
    cut = ClockCut(10**18, -1)
    assert [one.difference for one in check_orders(url, cut) if one.name == "executions ordered"] == [None]

    explained = platform.cli("explain", adjustment.execution_id)
    assert "sold by hand" in explained.stdout and "ACCEPT_POSITION" in explained.stdout, explained.stderr
    entries = platform.client.get("/api/v1/audit", headers=platform.headers("ann")).json()["commands"]
    outcomes = [entry["outcomes"] for entry in entries if entry["kind"] == ACCEPT_POSITION]
    assert outcomes == [[f"adjustment {adjustment.execution_id}"]]
    with create_engine(sqlalchemy_url(url)).connect() as db:
        closing_id = db.execute(text("SELECT close_execution_id FROM lot_matches")).scalar_one()
    assert closing_id == adjustment.execution_id


def test_a_position_that_the_broker_has_no_more_needs_a_price_and_a_second_person(platform: Platform) -> None:
    platform.differ("0")
    missing = platform.accept("ann", symbol="AAPL")
    assert missing.status_code == 400 and "give the price" in missing.json()["detail"]
    response = platform.accept("ann", symbol="AAPL", price=99)
    assert response.status_code == 202, response.text
    [receipt] = response.json()
    assert receipt["status"] == "APPROVAL_REQUIRED"
    assert platform.approve("ann", receipt["command_id"]).status_code == 403
    assert platform.approve("bob", receipt["command_id"]).status_code == 202
    [adjustment] = [one for one in platform.step() if isinstance(one, Execution)]
    assert (adjustment.exec_type, adjustment.quantity, adjustment.price) == (TRADE, Decimal(4), Decimal(99))
    assert platform.ledger.quantity("AAPL") == 0
    last = platform.commands()[-1]
    assert (last.kind, last.actor, last.arguments["requested_by"]) == (ACCEPT_POSITION, "bob", "ann")
    assert platform.approve("carl", receipt["command_id"]).status_code == 409
    platform.step(platform.account("0"))


def test_an_acceptance_that_is_out_of_date_is_reported_and_changes_nothing(platform: Platform) -> None:
    platform.differ("7")
    headers = platform.headers("ann")
    state = platform.client.get(API, headers=headers).json()
    assert [one["broker_quantity"] for one in state["positions"]] == [7] and state["state"] == "RECONCILING"
    [receipt] = platform.accept("ann").json()
    # The broker's position changes again before a second person approves.
    platform.step(platform.account("5"))
    assert platform.approve("bob", receipt["command_id"]).status_code == 202
    [refused] = [one for one in platform.step() if isinstance(one, Execution)]
    assert refused.exec_type == "REJECTED" and "5 at the broker now, 7 when it was accepted" in refused.text
    assert platform.ledger.quantity("AAPL") == 0


def test_a_difference_of_cash_is_shown_and_needs_a_second_person(platform: Platform) -> None:
    platform.step(valuation(1, 1, 250), platform.account("5"))
    shown = platform.client.get(API, headers=platform.headers("ann")).json()
    assert shown["cash"] == {"platform": 250, "broker": 0}
    accepted = platform.cli("reconcile", "accept", "cash", "--reason", "a fee")
    assert accepted.returncode == 0 and "cash: 250 here, 0 at the broker" in accepted.stdout, accepted.stderr
    assert not [one for one in platform.step() if isinstance(one, CashTransfer)]
    request = platform.commands()[-1]
    assert request.kind == "RELEASE_REQUESTED" and f"reconcile approve {request.command_id}" in accepted.stdout
    same_person = platform.cli("reconcile", "approve", request.command_id)
    assert same_person.returncode == 1 and "Another person must approve it" in same_person.stderr
    assert platform.approve("bob", request.command_id).status_code == 202
    [transfer] = [one for one in platform.step() if isinstance(one, CashTransfer)]
    assert (transfer.kind, transfer.amount, transfer.reason) == ("ADJUSTMENT", Decimal(-250), "a fee")
    assert transfer.actor == "bob" and platform.approve("carl", request.command_id).status_code == 409


def test_an_adjustment_through_the_api_needs_a_second_person(platform: Platform) -> None:
    body = {"kind": "ADJUSTMENT", "amount": "12.5", "reason": "a refund"}
    headers = platform.headers("ann")
    receipt = platform.client.post("/api/v1/portfolio/cash-transfers", json=body, headers=headers)
    assert receipt.status_code == 202 and receipt.json()["status"] == "APPROVAL_REQUIRED", receipt.text
    assert not [one for one in platform.step() if isinstance(one, CashTransfer)]
    assert platform.approve("bob", receipt.json()["command_id"]).status_code == 202
    [transfer] = [one for one in platform.step() if isinstance(one, CashTransfer)]
    assert (transfer.kind, transfer.amount) == ("ADJUSTMENT", Decimal("12.5"))


def test_a_replay_of_the_log_takes_over_the_same_positions(platform: Platform) -> None:
    replayed = GatewayStage(platform.settings.gateway())
    again = [
        record
        for number, records in enumerate(platform.log, start=1)
        for record in replayed.on_slice(number * SECOND_NS, records)
    ]
    assert [one.order_id for one in again if isinstance(one, Execution) and one.order_id.startswith("adj-")]
    assert replayed.snapshot() == platform.gateway.snapshot()
