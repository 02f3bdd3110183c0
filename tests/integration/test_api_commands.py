"""Manual orders from the request to the fill, with a real Kafka between API and stages and a real PostgreSQL behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from configs.settings import Settings
from dataflows.runtime import stages
from schemas.records import HALTED, TRADING, Order, Record
from tests.builders import bar, corporate_action, trading_status
from tests.integration.api_users import bearer, token_of
from tests.integration.trading_api import MINUTE, ORDER_REQUEST, T0, TradingApi, TradingLoopRunner, order_of


@pytest.fixture
def client(trading_api: TradingApi) -> TestClient:
    return trading_api.client


@pytest.fixture
def platform(trading_api: TradingApi) -> TradingLoopRunner:
    return trading_api.platform


@pytest.fixture
def trader(trading_api: TradingApi) -> dict[str, str]:
    return trading_api.trader


@pytest.fixture
def settings(trading_api: TradingApi) -> Settings:
    return trading_api.settings


@pytest.fixture
def risk(trading_api: TradingApi) -> dict[str, str]:
    return trading_api.risk


def test_a_manual_order_matches_the_brief_from_submission_to_fill(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str]
) -> None:
    platform.run_minute()
    response = client.post("/api/v1/orders", json=ORDER_REQUEST, headers=trader)
    assert response.status_code == 202, response.text
    answer = response.json()
    assert {"order_id", "status", "submitted_at"} <= answer.keys() and answer["status"] == "PENDING"
    order_id = answer["order_id"]
    assert response.headers["Location"] == f"/api/v1/orders/{order_id}"
    pending = order_of(client, trader, order_id)
    assert (pending["status"], pending["filled_quantity"], pending["executions"]) == ("PENDING", 0, [])
    platform.run_minute(commands=1)
    approved = order_of(client, trader, order_id)
    assert approved["status"] == "PENDING" and approved["checks"]
    platform.run_minute()
    filled = order_of(client, trader, order_id)
    assert {
        "order_id": order_id,
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": 100,
        "filled_quantity": 100,
        "avg_fill_price": 150.015,
        "status": "FILLED",
        "submitted_at": answer["submitted_at"],
    }.items() <= filled.items()
    assert filled["filled_at"] is not None
    assert order_of(client, trader, answer["command_id"]) == filled
    (listed,) = [o for o in client.get("/api/v1/orders", headers=trader).json()["orders"] if o["order_id"] == order_id]
    assert listed["submitted_at"] == answer["submitted_at"]
    state = client.get("/api/v1/portfolio/state", headers=trader).json()
    assert [(position["symbol"], position["quantity"]) for position in state["positions"]] == [("AAPL", 100)]


def test_an_idempotency_key_repeats_its_order_and_conflicts_with_another(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str]
) -> None:
    before = len(platform.commands)
    headers = {**trader, "Idempotency-Key": "key-1"}
    ticket = {**ORDER_REQUEST, "quantity": 10}

    def send(_: int) -> Any:
        return client.post("/api/v1/orders", json=ticket, headers=headers).json()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(8)))
    assert all(answer == answers[0] for answer in answers), answers
    different = client.post("/api/v1/orders", json={**ticket, "quantity": 11}, headers=headers)
    assert different.status_code == 409 and "key-1" in different.json()["detail"]
    admin = bearer(token_of(client.app, Role.ADMIN))  # type: ignore[arg-type]
    admin_response = client.post("/api/v1/orders", json=ticket, headers={**admin, "Idempotency-Key": "key-1"})
    assert admin_response.json()["order_id"] != answers[0]["order_id"]  # each user has separate idempotency keys
    # Concurrent requests may publish the command more than once. Risk applies it once.
    sent = platform.commands_so_far()
    assert len({command.command_id for command in sent}) == 2
    platform.minute += 1
    ts_ns = T0 + platform.minute * MINUTE
    records: list[Record] = [*sent, bar("AAPL", platform.minute, ts_ns, 150.0, day=20240115)]
    platform.inputs.append(records)
    output = platform.loop.on_slice(ts_ns, records)
    platform.outputs += output
    platform.writer.write([*records, *output])
    orders = [record for record in output if isinstance(record, Order)]
    expected_ids = sorted([answers[0]["order_id"], admin_response.json()["order_id"]])
    assert sorted(order.order_id for order in orders) == expected_ids
    assert len(platform.commands) > before


def test_a_refused_order_names_the_failed_check_and_the_reason(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str]
) -> None:
    ticket = {**ORDER_REQUEST, "quantity": 700}
    forecast = client.post("/api/v1/risk/validate", json=ticket, headers=trader).json()
    answer = client.post("/api/v1/orders", json=ticket, headers=trader).json()
    platform.run_minute(commands=len(platform.commands) + 1)
    refused = order_of(client, trader, answer["order_id"])
    assert refused["status"] == "REFUSED" and refused["reason"].startswith("max_order_notional: AAPL")
    assert refused["checks"] == [forecast["checks"][-1]]
    assert (forecast["approved"], forecast["message"]) == (False, refused["reason"])
    newest = client.get("/api/v1/risk/refusals?limit=1", headers=trader).json()["refusals"][0]
    assert (newest["cause_id"], newest["message"]) == (answer["command_id"], refused["reason"])
    cancel_response = client.delete(f"/api/v1/orders/{answer['order_id']}", headers=trader)
    assert cancel_response.status_code == 409 and "rejected" in cancel_response.json()["detail"]


def test_a_resting_order_can_be_cancelled_once(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str], risk: dict[str, str]
) -> None:
    ticket = {**ORDER_REQUEST, "order_type": "LIMIT", "limit_price": 140.5, "time_in_force": "GTC", "quantity": "1.000"}
    order_id = client.post("/api/v1/orders", json=ticket, headers=trader).json()["order_id"]
    platform.run_minute(commands=len(platform.commands) + 1)
    platform.run_minute()
    assert order_of(client, trader, order_id)["status"] == "ACCEPTED"
    # The risk role may cancel orders but not place them.
    response = client.delete(f"/api/v1/orders/{order_id}?reason=too%20old", headers=risk)
    assert response.status_code == 202 and response.json()["status"] == "CANCEL_PENDING"
    platform.run_minute(commands=len(platform.commands) + 1)
    assert order_of(client, trader, order_id)["cancel_asked_at"] is not None
    platform.run_minute()
    assert order_of(client, trader, order_id)["status"] == "CANCELLED"
    for target_id, status in ((order_id, 409), ("ord-999", 404), ("cmd-nothing", 404)):
        assert client.delete(f"/api/v1/orders/{target_id}", headers=risk).status_code == status


def test_breaker_halt_and_release_are_audited(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str], risk: dict[str, str]
) -> None:
    halt = client.post("/api/v1/risk/circuit-breaker", json={"action": "halt", "reason": "a drill"}, headers=risk)
    assert halt.status_code == 202
    platform.run_minute(commands=len(platform.commands) + 1)
    limits = client.get("/api/v1/risk/limits", headers=trader).json()
    assert (limits["state"], limits["reason"]) == ("HALTED", "a drill")
    forecast = client.post("/api/v1/risk/validate", json=ORDER_REQUEST, headers=trader).json()
    assert forecast["approved"] is False and "kill_switch" in forecast["message"]
    assert client.post("/api/v1/risk/circuit-breaker", json={"action": "release", "reason": "over"}, headers=risk)
    platform.run_minute(commands=len(platform.commands) + 1)
    assert client.get("/api/v1/risk/limits", headers=trader).json()["state"] == "ACTIVE"

    audit = client.get("/api/v1/audit", headers=risk).json()
    kinds = [entry["kind"] for entry in audit["commands"]]
    assert kinds[:3] == ["RELEASE", "KILL_SWITCH", "CANCEL_ORDER"] and kinds.count("SUBMIT_ORDER") == 5
    assert audit["commands"][1]["outcomes"] == ["HALTED"]
    assert len(audit["commands"]) == len({command.command_id for command in platform.commands})
    page = client.get("/api/v1/audit?limit=2&actor=the-trader", headers=risk).json()
    assert [entry["actor"] for entry in page["commands"]] == ["the-trader"] * 2
    next_page = client.get(f"/api/v1/audit?before={page['next']}&kind=SUBMIT_ORDER", headers=risk).json()
    assert all(entry["kind"] == "SUBMIT_ORDER" for entry in next_page["commands"])


def test_only_configured_breakers_can_be_set_manually(client: TestClient, risk: dict[str, str]) -> None:
    def set_breaker(**body: str) -> Any:
        return client.post("/api/v1/risk/circuit-breaker", json={"reason": "x", **body}, headers=risk)

    assert set_breaker(action="reduce").status_code == 400
    assert set_breaker(action="halt", measure="nonsense").status_code == 400
    assert set_breaker(action="halt", measure="staleness", scope="SYMBOL", key="AAPL").status_code == 404
    assert set_breaker(action="stop").status_code == 422
    assert client.get("/api/v1/risk/breakers", headers=risk).status_code == 200


def test_a_halt_of_the_exchange_is_listed_and_its_symbol_is_rejected_in_the_forecast(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str]
) -> None:
    def listed() -> list[tuple[str, str, str, str]]:
        rows = client.get("/api/v1/risk/breakers", headers=trader).json()
        return [(row["key"], row["state"], row["found"], row["reason"]) for row in rows if row["scope"] == "SYMBOL"]

    platform.run_minute(others=[trading_status("AAPL", HALTED, T0)])
    assert listed() == [("AAPL", "HALTED", "T1", "news pending")]
    forecast = client.post("/api/v1/risk/validate", json=ORDER_REQUEST, headers=trader).json()
    assert forecast["approved"] is False
    assert forecast["message"] == "exchange_halt: the exchange has halted trading in AAPL: news pending (T1)"
    platform.run_minute(others=[trading_status("AAPL", TRADING, T0 + 1)])
    assert listed() == [("AAPL", "ACTIVE", "T1", "news pending")]
    assert client.post("/api/v1/risk/validate", json=ORDER_REQUEST, headers=trader).json()["approved"] is True


def test_the_forecast_of_an_order_under_an_old_name_is_the_rejection_of_risk(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str]
) -> None:
    rename = corporate_action("r1", "SYMBOL_CHANGE", "FB", ex_date=20240115, new_symbol="META")
    platform.run_minute(others=[bar("FB", 1, T0 + MINUTE, 300.0, day=20240112)])
    platform.run_minute(others=[rename])
    platform.writer.write([rename])
    ticket = {**ORDER_REQUEST, "symbol": "FB"}
    forecast = client.post("/api/v1/risk/validate", json=ticket, headers=trader).json()
    assert forecast["message"] == "ended_symbol: FB is META since 2024-01-15; order META"
    assert forecast["checks"][-1]["check"] == "ended_symbol"
    answer = client.post("/api/v1/orders", json=ticket, headers=trader).json()
    platform.run_minute(commands=len(platform.commands) + 1)
    order = order_of(client, trader, answer["order_id"])
    assert (order["status"], order["checks"][-1]["check"]) == ("REFUSED", "ended_symbol")


def test_the_forecast_equals_the_decision_of_the_risk_service(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str]
) -> None:
    """Compare the checks with their findings and limits. The book has a position, resting orders and earlier trades."""
    resting = {**ORDER_REQUEST, "order_type": "LIMIT", "limit_price": 149, "time_in_force": "GTC", "quantity": 50}
    client.post("/api/v1/orders", json=resting, headers=trader)
    platform.run_minute(commands=len(platform.commands) + 1)
    platform.run_minute()
    for ticket in (
        ORDER_REQUEST,
        {**ORDER_REQUEST, "side": "SELL", "quantity": 30},
        {**ORDER_REQUEST, "quantity": 600},
        resting,
    ):
        forecast = client.post("/api/v1/risk/validate", json=ticket, headers=trader).json()
        answer = client.post("/api/v1/orders", json=ticket, headers=trader).json()
        platform.run_minute(commands=len(platform.commands) + 1)
        order = order_of(client, trader, answer["order_id"])
        checks = forecast["checks"] if forecast["approved"] else [forecast["checks"][-1]]
        assert [c["check"] for c in order["checks"]] == [c["check"] for c in checks]
        for check, predicted in zip(order["checks"], checks, strict=True):
            if check["check"] != "stale_price":  # one minute passed between the forecast and the decision
                assert check == predicted
        platform.run_minute()


def test_a_replay_of_the_recorded_commands_makes_the_same_orders(
    settings: Settings, platform: TradingLoopRunner
) -> None:
    replayed_loop = stages.trading_loop(settings)()
    outputs: list[Record] = []
    for records in platform.inputs:
        outputs += replayed_loop.on_slice(records[-1].ts_ns, records)
    assert outputs == platform.outputs
    assert sum(type(record).__name__ == "Order" for record in outputs) >= 5


def test_an_unsent_order_gets_503_and_its_key_resends_the_same_command(
    settings: Settings, tmp_path: Path, platform: TradingLoopRunner, client: TestClient, trader: dict[str, str]
) -> None:
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    api = settings.api.model_copy(update={"command_timeout_s": 0.5})
    unreachable = settings.model_copy(update={"kafka": kafka, "api": api})
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "api-jwt-key").write_text(client.app.state.resources.jwt_key)  # type: ignore[attr-defined]
    headers = {**trader, "Idempotency-Key": "later"}
    with TestClient(create_app(unreachable, home=tmp_path)) as unreachable_client:
        failed = unreachable_client.post("/api/v1/orders", json=ORDER_REQUEST, headers=headers)
    assert failed.status_code == 503 and "cmd-" in failed.json()["detail"], failed.text
    answer = client.post("/api/v1/orders", json=ORDER_REQUEST, headers=headers).json()
    assert answer["command_id"] in failed.json()["detail"]
    (command,) = platform.commands_until(len(platform.commands) + 1)
    assert command.command_id == answer["command_id"]
    assert Decimal(command.arguments["quantity"]) == 100


def test_requests_share_the_connections_to_kafka_and_postgres(
    client: TestClient, trader: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection for each request would add seconds to an order."""

    def send_order() -> int:
        return int(client.post("/api/v1/orders", json={**ORDER_REQUEST, "quantity": 1}, headers=trader).status_code)

    def connect(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a request opened a connection of its own")

    assert send_order() == 202
    monkeypatch.setattr("sinks.commands.Producer", connect)
    monkeypatch.setattr("psycopg2.connect", connect)
    assert [send_order() for _ in range(20)] == [202] * 20
