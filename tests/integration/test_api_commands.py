"""Orders by hand from the request to the fill: real Kafka between the API and the stages, real Postgres behind them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from configs.settings import Settings, load_settings
from dataflows.runtime import stages
from operators.stage import Stage
from schemas.codec import decode
from schemas.records import Bar, Command, Record
from sinks.postgres import PostgresWriter
from tests.integration.api_people import bearer, token_of
from tests.unit.builders import bar

MINUTE = 60_000_000_000
T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
PREFIX = f"api-{time.time_ns()}-"
TICKET = {"symbol": "AAPL", "side": "BUY", "quantity": 100, "order_type": "MARKET", "time_in_force": "DAY"}


class Platform:
    """Execution, portfolio and risk, fed with the commands that the API wrote into Kafka, their records in Postgres."""

    def __init__(self, settings: Settings) -> None:
        self.loop: Stage = stages.trading_loop(settings)()
        self.writer = PostgresWriter(settings.database.postgres.url, name="test")
        self.consumer = Consumer(
            {"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": PREFIX, "enable.auto.commit": False}
        )
        self.consumer.assign([TopicPartition(f"{PREFIX}commands", 0, 0)])
        self.minute = 0
        self.commands: list[Command] = []
        self.given: list[list[Record]] = []
        self.made: list[Record] = []

    def commands_until(self, count: int) -> list[Command]:
        """What is new in the topic; waits until it holds `count` in all."""
        new: list[Command] = []
        deadline = time.monotonic() + 15
        while len(self.commands) + len(new) < count and time.monotonic() < deadline:
            message = self.consumer.poll(0.2)
            if message is not None and message.error() is None:
                record = decode(message.value() or b"")
                assert isinstance(record, Command)
                new.append(record)
        self.commands += new
        assert len(self.commands) == count, self.commands
        return new

    def tick(self, commands: int | None = None) -> None:
        """One minute of AAPL at 150, with the commands that make it `commands` in all (else no new ones)."""
        self.minute += 1
        at = T0 + self.minute * MINUTE
        new: list[Record] = [*self.commands_until(len(self.commands) if commands is None else commands)]
        given = [*new, bar("AAPL", self.minute, at, 150.0, day=20240115)]
        self.given.append(given)
        made = self.loop.on_tick(at, given)
        self.made += made
        self.writer.write([*(record for record in given if type(record) in (Bar, Command)), *made])

    def close(self) -> None:
        self.consumer.close()
        self.writer.close()


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str, kafka: str) -> Settings:
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.create_topics([NewTopic(f"{PREFIX}commands", 1, 1)]).values():
        future.result(30)
    return load_settings(
        environment={
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "KAFKA__TOPIC_PREFIX": PREFIX,
            "API__COMMAND_RATE": "10000/minute",
            "API__READ_RATE": "10000/minute",
        }
    )


@pytest.fixture(scope="module")
def client(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(settings, home=tmp_path_factory.mktemp("home"))) as client:
        yield client


@pytest.fixture(scope="module")
def platform(settings: Settings) -> Iterator[Platform]:
    running = Platform(settings)
    yield running
    running.close()


@pytest.fixture(scope="module")
def trader(client: TestClient) -> dict[str, str]:
    return bearer(token_of(client.app, Role.TRADER))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def risk(client: TestClient) -> dict[str, str]:
    return bearer(token_of(client.app, Role.RISK))  # type: ignore[arg-type]


def _order(client: TestClient, who: dict[str, str], order_id: str) -> dict[str, Any]:
    response = client.get(f"/api/v1/orders/{order_id}", headers=who)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_an_order_by_hand_has_the_briefs_answers_from_submission_to_fill(
    client: TestClient, platform: Platform, trader: dict[str, str]
) -> None:
    platform.tick()
    response = client.post("/api/v1/orders", json=TICKET, headers=trader)
    assert response.status_code == 202, response.text
    answer = response.json()
    assert {"order_id", "status", "submitted_at"} <= answer.keys() and answer["status"] == "PENDING"
    order_id = answer["order_id"]
    assert response.headers["Location"] == f"/api/v1/orders/{order_id}"
    waiting = _order(client, trader, order_id)
    assert (waiting["status"], waiting["filled_quantity"], waiting["executions"]) == ("PENDING", 0, [])
    platform.tick(commands=1)
    approved = _order(client, trader, order_id)
    assert approved["status"] == "PENDING" and approved["checks"]
    platform.tick()
    filled = _order(client, trader, order_id)
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
    assert _order(client, trader, answer["command_id"]) == filled
    (listed,) = [o for o in client.get("/api/v1/orders", headers=trader).json()["orders"] if o["order_id"] == order_id]
    assert listed["submitted_at"] == answer["submitted_at"]
    state = client.get("/api/v1/portfolio/state", headers=trader).json()
    assert [(held["symbol"], held["quantity"]) for held in state["positions"]] == [("AAPL", 100)]


def test_the_same_key_is_the_same_order_and_another_order_a_conflict(
    client: TestClient, platform: Platform, trader: dict[str, str]
) -> None:
    before = len(platform.commands)
    headers = {**trader, "Idempotency-Key": "key-1"}
    ticket = {**TICKET, "quantity": 10}

    def send(_: int) -> Any:
        return client.post("/api/v1/orders", json=ticket, headers=headers).json()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(8)))
    assert all(answer == answers[0] for answer in answers), answers
    different = client.post("/api/v1/orders", json={**ticket, "quantity": 11}, headers=headers)
    assert different.status_code == 409 and "key-1" in different.json()["detail"]
    admin = bearer(token_of(client.app, Role.ADMIN))  # type: ignore[arg-type]
    other = client.post("/api/v1/orders", json=ticket, headers={**admin, "Idempotency-Key": "key-1"})
    assert other.json()["order_id"] != answers[0]["order_id"]  # keys are each user's own
    # Requests at the same moment may send the command more than once; risk takes it once.
    time.sleep(1.0)
    message = platform.consumer.consume(100, 5.0)
    sent = [decode(one.value() or b"") for one in message if one.error() is None]
    platform.commands += sent
    assert len({command.command_id for command in sent}) == 2
    platform.minute += 1
    at = T0 + platform.minute * MINUTE
    given: list[Record] = [*sent, bar("AAPL", platform.minute, at, 150.0, day=20240115)]
    platform.given.append(given)
    made = platform.loop.on_tick(at, given)
    platform.made += made
    platform.writer.write([*given, *made])
    mine = [order for order in made if type(order).__name__ == "Order"]
    assert sorted(order.order_id for order in mine) == sorted([answers[0]["order_id"], other.json()["order_id"]])  # type: ignore[union-attr]
    assert len(platform.commands) > before


def test_a_refused_order_says_which_check_and_why(
    client: TestClient, platform: Platform, trader: dict[str, str]
) -> None:
    ticket = {**TICKET, "quantity": 700}
    forecast = client.post("/api/v1/risk/validate", json=ticket, headers=trader).json()
    answer = client.post("/api/v1/orders", json=ticket, headers=trader).json()
    platform.tick(commands=len(platform.commands) + 1)
    refused = _order(client, trader, answer["order_id"])
    assert refused["status"] == "REFUSED" and refused["reason"].startswith("max_order_notional: AAPL")
    assert refused["checks"] == [forecast["checks"][-1]]
    assert (forecast["approved"], forecast["message"]) == (False, refused["reason"])
    newest = client.get("/api/v1/risk/refusals?limit=1", headers=trader).json()["refusals"][0]
    assert (newest["cause_id"], newest["message"]) == (answer["command_id"], refused["reason"])
    again = client.delete(f"/api/v1/orders/{answer['order_id']}", headers=trader)
    assert again.status_code == 409 and "refused" in again.json()["detail"]


def test_an_order_that_rests_can_be_cancelled_once(
    client: TestClient, platform: Platform, trader: dict[str, str], risk: dict[str, str]
) -> None:
    ticket = {**TICKET, "order_type": "LIMIT", "limit_price": 140.5, "time_in_force": "GTC", "quantity": "1.000"}
    order_id = client.post("/api/v1/orders", json=ticket, headers=trader).json()["order_id"]
    platform.tick(commands=len(platform.commands) + 1)
    platform.tick()
    assert _order(client, trader, order_id)["status"] == "ACCEPTED"
    # Risk may take away what it may not give.
    asked = client.delete(f"/api/v1/orders/{order_id}?reason=too%20old", headers=risk)
    assert asked.status_code == 202 and asked.json()["status"] == "CANCEL_PENDING"
    platform.tick(commands=len(platform.commands) + 1)
    assert _order(client, trader, order_id)["cancel_asked_at"] is not None
    platform.tick()
    assert _order(client, trader, order_id)["status"] == "CANCELLED"
    for wanted, status in ((order_id, 409), ("ord-999", 404), ("cmd-nothing", 404)):
        assert client.delete(f"/api/v1/orders/{wanted}", headers=risk).status_code == status


def test_the_breaker_halts_and_releases_and_the_audit_has_it_all(
    client: TestClient, platform: Platform, trader: dict[str, str], risk: dict[str, str]
) -> None:
    halt = client.post("/api/v1/risk/circuit-breaker", json={"action": "halt", "reason": "a drill"}, headers=risk)
    assert halt.status_code == 202
    platform.tick(commands=len(platform.commands) + 1)
    limits = client.get("/api/v1/risk/limits", headers=trader).json()
    assert (limits["state"], limits["reason"]) == ("HALTED", "a drill")
    forecast = client.post("/api/v1/risk/validate", json=TICKET, headers=trader).json()
    assert forecast["approved"] is False and "kill_switch" in forecast["message"]
    assert client.post("/api/v1/risk/circuit-breaker", json={"action": "release", "reason": "over"}, headers=risk)
    platform.tick(commands=len(platform.commands) + 1)
    assert client.get("/api/v1/risk/limits", headers=trader).json()["state"] == "ACTIVE"

    audit = client.get("/api/v1/audit", headers=risk).json()
    kinds = [entry["kind"] for entry in audit["commands"]]
    assert kinds[:3] == ["RELEASE", "KILL_SWITCH", "CANCEL_ORDER"] and kinds.count("SUBMIT_ORDER") == 5
    assert audit["commands"][1]["outcomes"] == ["HALTED"]
    assert len(audit["commands"]) == len({command.command_id for command in platform.commands})
    page = client.get("/api/v1/audit?limit=2&actor=the-trader", headers=risk).json()
    assert [entry["actor"] for entry in page["commands"]] == ["the-trader"] * 2
    further = client.get(f"/api/v1/audit?before={page['next']}&kind=SUBMIT_ORDER", headers=risk).json()
    assert all(entry["kind"] == "SUBMIT_ORDER" for entry in further["commands"])


def test_breakers_of_the_settings_can_be_set_by_hand_and_no_others(client: TestClient, risk: dict[str, str]) -> None:
    def asked(**body: str) -> Any:
        return client.post("/api/v1/risk/circuit-breaker", json={"reason": "x", **body}, headers=risk)

    assert asked(action="reduce").status_code == 400
    assert asked(action="halt", measure="nonsense").status_code == 400
    assert asked(action="halt", measure="staleness", scope="SYMBOL", key="AAPL").status_code == 404
    assert asked(action="stop").status_code == 422
    assert client.get("/api/v1/risk/breakers", headers=risk).status_code == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"symbol": "A B"}, "symbol"),
        ({"symbol": "A\0"}, "symbol"),
        ({"symbol": "\ud800"}, "symbol"),
        ({"side": "HOLD"}, "side"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": "NaN"}, "quantity"),
        ({"quantity": 1e300}, "quantity"),
        ({"quantity": "0.0000000001"}, "quantity"),
        ({"order_type": "LIMIT"}, "limit_price"),
        ({"limit_price": 5}, "limit_price"),
        ({"order_type": "ICEBERG"}, "order_type"),
        ({"leverage": 7}, "leverage"),
    ],
)
def test_a_bad_ticket_is_one_sentence_and_no_command(
    client: TestClient, platform: Platform, trader: dict[str, str], change: dict[str, Any], words: str
) -> None:
    body = json.dumps({**TICKET, **change})
    headers = {**trader, "Content-Type": "application/json"}
    for path in ("/api/v1/orders", "/api/v1/risk/validate"):
        response = client.post(path, content=body, headers=headers)
        assert response.status_code == 422 and words in response.json()["detail"], response.text
        assert "\n" not in response.json()["detail"]
    platform.commands_until(len(platform.commands))


def test_the_forecast_is_the_risk_services_own_decision(
    client: TestClient, platform: Platform, trader: dict[str, str]
) -> None:
    """Checks with their findings and limits, on a book with a position, resting orders and a day behind it."""
    resting = {**TICKET, "order_type": "LIMIT", "limit_price": 149, "time_in_force": "GTC", "quantity": 50}
    client.post("/api/v1/orders", json=resting, headers=trader)
    platform.tick(commands=len(platform.commands) + 1)
    platform.tick()
    for ticket in (TICKET, {**TICKET, "side": "SELL", "quantity": 30}, {**TICKET, "quantity": 600}, resting):
        forecast = client.post("/api/v1/risk/validate", json=ticket, headers=trader).json()
        answer = client.post("/api/v1/orders", json=ticket, headers=trader).json()
        platform.tick(commands=len(platform.commands) + 1)
        decided = _order(client, trader, answer["order_id"])
        checks = forecast["checks"] if forecast["approved"] else [forecast["checks"][-1]]
        assert [c["check"] for c in decided["checks"]] == [c["check"] for c in checks]
        for check, foretold in zip(decided["checks"], checks, strict=True):
            if check["check"] != "stale_price":  # a minute passed between the two
                assert check == foretold
        platform.tick()


def test_the_terms_of_an_order_are_told_and_those_of_its_exits_its_change_and_of_what_risk_refused(
    client: TestClient, platform: Platform, trader: dict[str, str]
) -> None:
    terms = {"order_type": "STOP_LIMIT", "stop_price": 190, "limit_price": 191, "time_in_force": "GTD"}
    terms |= {"expires_at": "2034-01-15T10:30:00Z", "group_id": "g1"}
    ticket = {**TICKET, **terms, "quantity": 2}

    def decided(answer: dict[str, Any]) -> dict[str, Any]:
        platform.tick(commands=len(platform.commands) + 1)
        platform.tick()
        return _order(client, trader, answer["order_id"])

    def change(wanted: dict[str, Any]) -> dict[str, Any]:
        answer = client.patch(f"/api/v1/orders/{working['order_id']}", json=wanted, headers=trader)
        assert answer.status_code == 202, answer.text
        return decided(answer.json())

    bracket = {**ticket, "take_profit_price": 199}
    working = decided(client.post("/api/v1/orders", json=bracket, headers=trader).json())
    terms |= {"trail_amount": None, "trail_percent": None, "parent_id": "", "reduce_only": False}
    assert working.items() >= {**terms, "status": "ACCEPTED", "replaces": ""}.items()
    listed = client.get("/api/v1/orders?limit=9", headers=trader).json()["orders"]
    [leg] = [one for one in listed if one["parent_id"] == working["cause_id"]]
    assert leg["group_id"] != "" and leg.items() >= {"reduce_only": True, "limit_price": 199, "side": "SELL"}.items()
    refused = decided(client.post("/api/v1/orders", json={**ticket, "quantity": 9000}, headers=trader).json())
    assert refused.items() >= {**terms, "status": "REFUSED", "replaces": ""}.items()
    refused = change({"quantity": 9000})
    assert refused.items() >= {**terms, "status": "REFUSED", "replaces": working["order_id"], "quantity": 9000}.items()
    changed = change({"stop_price": "189"})
    assert changed.items() >= {**terms, "stop_price": 189, "replaces": working["order_id"]}.items()
    assert _order(client, trader, working["order_id"])["status"] == "REPLACED"
    assert (
        decided(client.delete(f"/api/v1/orders/{changed['order_id']}", headers=trader).json())["status"] == "CANCELLED"
    )


def test_a_replay_of_the_recorded_commands_makes_the_same_orders(settings: Settings, platform: Platform) -> None:
    again = stages.trading_loop(settings)()
    made: list[Record] = []
    for given in platform.given:
        made += again.on_tick(given[-1].ts_ns, given)
    assert made == platform.made
    assert sum(type(record).__name__ == "Order" for record in made) >= 5


def test_an_unsent_order_is_503_and_its_key_sends_the_same_command_later(
    settings: Settings, tmp_path: Path, platform: Platform, client: TestClient, trader: dict[str, str]
) -> None:
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    api = settings.api.model_copy(update={"command_timeout_s": 0.5})
    away = settings.model_copy(update={"kafka": kafka, "api": api})
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "api-jwt-key").write_text(client.app.state.resources.jwt_key)  # type: ignore[attr-defined]
    headers = {**trader, "Idempotency-Key": "later"}
    with TestClient(create_app(away, home=tmp_path)) as other:
        failed = other.post("/api/v1/orders", json=TICKET, headers=headers)
    assert failed.status_code == 503 and "cmd-" in failed.json()["detail"], failed.text
    answer = client.post("/api/v1/orders", json=TICKET, headers=headers).json()
    assert answer["command_id"] in failed.json()["detail"]
    (command,) = platform.commands_until(len(platform.commands) + 1)
    assert command.command_id == answer["command_id"]
    assert Decimal(command.arguments["quantity"]) == 100


def test_a_command_is_acknowledged_within_the_budget(client: TestClient, trader: dict[str, str]) -> None:
    """Not a benchmark: that no request pays for a connection of its own (seconds), whatever the machine does."""
    ticket = {**TICKET, "quantity": 1}
    took = []
    for _ in range(20):
        began = time.perf_counter()
        assert client.post("/api/v1/orders", json=ticket, headers=trader).status_code == 202
        took.append(time.perf_counter() - began)
    assert sorted(took)[10] < 0.5, sorted(took)
