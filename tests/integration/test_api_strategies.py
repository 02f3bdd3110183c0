"""The strategies in the API: sub-accounts, positions, equity, actions, the orders of a strategy, and the resume."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from configs.settings import Settings, load_settings
from deploy.commands import strategies as commands
from deploy.supervisor.topics import TopicSpec, create_topics
from operators.money import to_decimal
from operators.strategies import TradingStrategy
from operators.trading.stage import TradingSettings, TradingStrategyStage
from schemas.records import BUY, CANCELED, MARKET, NEW, RESUME_STRATEGY, TRADE, InternalCross, Record, StrategyWeights
from sinks.accounts import submissions
from sinks.postgres import PostgresWriter
from tests.builders import attribution, bar, order, proposal, report
from tests.integration.api_users import bearer, log_in, token_of

MINUTE = 60_000_000_000
T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z


class Buying(TradingStrategy):
    """Buy 10 KO in the first minute, and never anything else."""

    name, symbols = "buying", ("KO", "PEP")

    def on_slice(self, ctx: Any) -> None:
        if not ctx.state:
            ctx.state["id"] = ctx.submit("KO", BUY, 10, tag="entry")


class Failing(TradingStrategy):
    name, symbols = "failing", ("KO",)

    def on_slice(self, ctx: Any) -> None:
        raise ValueError("no idea")


def cross(seq: int, symbol: str, quantity: float, price: float, *, buyer: str, seller: str) -> InternalCross:
    return InternalCross(
        seq=seq,
        ts_ns=T0,
        cross_id=f"cross-{seq}",
        symbol=symbol,
        quantity=to_decimal(quantity),
        price=to_decimal(price),
        buyer=buyer,
        seller=seller,
        cause_ids=["act-buying-1"],
    )


def published() -> list[Record]:
    """Return the records of three minutes: an order, its fill with fee 1, and a price change from 100 to 110."""
    entry = order(1, BUY, 10, "KO", order_id="ord-act-buying-1", cause_id="act-buying-1")
    other = order(2, BUY, 5, "KO", cause_id="prop-1")
    reports = [
        report(1, entry, NEW, ts_ns=T0 + 2 * MINUTE),
        report(2, entry, TRADE, 10, 100, fee=1, ts_ns=T0 + 2 * MINUTE),
    ]
    stage = TradingStrategyStage([Buying(), Failing()], TradingSettings(initial_capital=Decimal(10_000)))
    out: list[Record] = [
        entry,
        other,
        proposal(seq=1, ts_ns=T0, strategy="reversion+trend"),
        StrategyWeights(seq=1, ts_ns=T0, weights={"trend": 1.0}, scores={"trend": 0.0}, reason="start"),
        attribution(1, T0, "trend", realized_pnl=7),
        cross(2, "KO", 5, 100.5, buyer="trend", seller="buying"),
        cross(3, "KO", 2, 101, buyer="other", seller="trend"),
        cross(4, "PEP", 1, 50, buyer="buying", seller="other"),
        *reports,
        report(3, other, CANCELED, ts_ns=T0 + 2 * MINUTE),
    ]
    for number, close in enumerate((100.0, 100.0, 110.0), 1):
        bars = [bar(symbol, number, T0 + number * MINUTE, close) for symbol in ("KO", "PEP")]
        out += [*bars, *stage.on_slice(T0 + number * MINUTE, [*(reports if number == 2 else []), *bars])]
    return out


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str, kafka: str) -> Settings:
    prefix = f"strategies-{time.time_ns()}-"
    create_topics(kafka, [TopicSpec(f"{prefix}commands", 1)])
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    return load_settings(environment={**environment, "KAFKA__TOPIC_PREFIX": prefix})


@pytest.fixture(scope="module")
def client(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write(published())
    writer.close()
    with TestClient(create_app(settings, home=tmp_path_factory.mktemp("home"))) as client:
        yield log_in(client)


def get(client: TestClient, path: str) -> Any:
    response = client.get(f"/api/v1{path}")
    assert response.status_code == 200, response.text
    return response.json()


def test_the_list_has_the_sub_accounts_of_both_forms(client: TestClient) -> None:
    buying, failing, trend = get(client, "/strategies")
    figures = ("capital", "equity", "cash", "realized_pnl", "unrealized_pnl", "fees", "total_pnl", "open_positions")
    assert [buying[name] for name in figures] == [10_000, 10_099, 8_999, 0, 100, 1, 99, 1]
    assert (buying["strategy"], buying["form"], buying["state"]) == ("buying", "trading", "RUNNING")
    assert (buying["symbols"], buying["suspension"]) == (["KO", "PEP"], None)
    assert buying["last_action"]["action_id"] == "act-buying-1"
    assert buying["last_updated"] == "2024-01-15T10:33:00Z"
    assert (failing["strategy"], failing["state"]) == ("failing", "SUSPENDED")
    assert (failing["suspension"]["error"], failing["suspension"]["message"]) == ("ValueError", "no idea")
    assert (trend["strategy"], trend["form"], trend["equity"], trend["realized_pnl"]) == ("trend", "view", None, 7)


def test_one_strategy_has_its_positions_and_its_equity_curve(client: TestClient) -> None:
    (position,) = get(client, "/strategies/buying")["positions"]
    assert (position["symbol"], position["quantity"], position["avg_price"]) == ("KO", 10, 100)
    assert (position["market_value"], position["unrealized_pnl"], position["fees"]) == (1_100, 100, 1)
    curve = get(client, "/strategies/buying/equity")
    assert [point["equity"] for point in curve] == [10_000, 9_999, 10_099]
    assert [point["equity"] for point in get(client, "/strategies/buying/equity?points=1")][-1] == 10_099
    assert [point["equity"] for point in get(client, "/strategies/buying/equity?since=2024-01-15T10:32:30Z")] == [
        10_099
    ]
    missing = client.get("/api/v1/strategies/buing")
    assert missing.status_code == 404 and "did you mean buying?" in missing.json()["detail"]


def test_actions_are_paged_and_filtered(client: TestClient) -> None:
    page = get(client, "/strategy-actions?limit=1")
    assert page["actions"][0]["kind"] == "SUSPENDED" and page["next"] is not None
    (action,) = get(client, f"/strategy-actions?before={page['next']}")["actions"]
    assert (action["action_id"], action["kind"], action["reason"]) == ("act-buying-1", "SUBMIT_ORDER", "entry")
    assert action["arguments"]["order_type"] == MARKET and action["arguments"]["quantity"] == "10"
    assert [one["kind"] for one in get(client, "/strategy-actions?strategy=failing")["actions"]] == ["SUSPENDED"]
    assert get(client, "/strategy-actions?symbol=PEP")["actions"] == []
    assert client.get("/api/v1/strategy-actions?kind=LOST").status_code == 422
    unknown = client.get("/api/v1/strategy-actions?strategie=buying")
    assert unknown.status_code == 422 and 'did you mean "strategy"?' in unknown.json()["detail"]


def test_internal_crosses_are_paged_and_filtered_by_either_side(client: TestClient) -> None:
    page = get(client, "/internal-crosses?limit=2")
    assert [one["cross_id"] for one in page["crosses"]] == ["cross-4", "cross-3"] and page["next"] == 3
    (first,) = get(client, f"/internal-crosses?before={page['next']}&limit=2")["crosses"]
    assert (first["buyer"], first["seller"], first["quantity"], first["price"]) == ("trend", "buying", 5, 100.5)
    assert (first["timestamp"], first["cause_ids"]) == ("2024-01-15T10:30:00Z", ["act-buying-1"])
    for path, ids in (
        ("strategy=trend", ["cross-3", "cross-2"]),
        ("strategy=buying", ["cross-4", "cross-2"]),
        ("strategy=buying&symbol=PEP", ["cross-4"]),
        ("strategy=nobody", []),
    ):
        assert [one["cross_id"] for one in get(client, f"/internal-crosses?{path}")["crosses"]] == ids, path
    unknown = client.get("/api/v1/internal-crosses?buyer=trend")
    assert unknown.status_code == 422 and "strategy" in unknown.json()["detail"]


def test_the_command_lists_the_crosses(settings: Settings, client: TestClient, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(commands, "_settings", lambda: settings)
    commands.crosses(strategy="buying")
    assert capsys.readouterr().out.splitlines() == [
        "2024-01-15 10:30:00  cross-4  PEP  1 at 50  buying from other",
        "2024-01-15 10:30:00  cross-2  KO  5 at 100.5  trend from buying",
    ]
    commands.crosses(symbol="GE")
    assert capsys.readouterr().out == "no internal crosses\n"
    commands.crosses(limit=1, as_json=True)
    (shown,) = json.loads(capsys.readouterr().out)["crosses"]
    assert shown["cross_id"] == "cross-4"


def test_a_suspended_strategy_is_flattened_by_a_command_with_its_reason(client: TestClient, settings: Settings) -> None:
    app: Any = client.app
    risk, trader = bearer(token_of(app, Role.RISK)), bearer(token_of(app, Role.TRADER))
    path, body = "/api/v1/strategies/failing/flatten", {"reason": "retired"}
    assert client.post(path, json=body, headers=trader).status_code == 403
    for name, status, text in (
        ("buying", 409, "runs and could trade again"),
        ("trend", 409, "has no sub-account"),
        ("nobody", 404, "No strategy nobody"),
    ):
        refused = client.post(f"/api/v1/strategies/{name}/flatten", json=body, headers=risk)
        assert refused.status_code == status and text in refused.json()["detail"], name
    keyed = risk | {"Idempotency-Key": "flatten-1"}
    first, second = (client.post(path, json=body, headers=keyed) for _ in range(2))
    assert first.status_code == second.status_code == 202 and first.json() == second.json()
    assert (first.json()["strategy"], first.json()["status"]) == ("failing", "PENDING")
    with app.state.resources.engine.connect() as db:
        row = (
            db.execute(submissions.select().where(submissions.c.command_id == first.json()["command_id"]))
            .mappings()
            .one()
        )
    assert (row["kind"], row["reason"], row["arguments"]) == ("FLATTEN_STRATEGY", "retired", {"strategy": "failing"})


def test_orders_name_the_strategy_behind_them(client: TestClient) -> None:
    by_id = {one["order_id"]: one["strategy"] for one in get(client, "/orders")["orders"]}
    assert by_id == {"ord-act-buying-1": "buying", "ord-2": "reversion+trend"}
    assert [one["order_id"] for one in get(client, "/orders?strategy=buying")["orders"]] == ["ord-act-buying-1"]
    assert [one["order_id"] for one in get(client, "/orders?strategy=trend")["orders"]] == ["ord-2"]
    assert [one["order_id"] for one in get(client, "/orders?strategy=reversion")["orders"]] == ["ord-2"]
    assert get(client, "/orders?strategy=buy")["orders"] == []


def test_a_suspended_strategy_is_resumed_by_a_command_with_its_reason(client: TestClient, settings: Settings) -> None:
    app: Any = client.app
    risk, trader = bearer(token_of(app, Role.RISK)), bearer(token_of(app, Role.TRADER))
    path, body = "/api/v1/strategies/failing/resume", {"reason": "fixed"}
    assert client.post(path, json=body, headers=trader).status_code == 403
    assert client.post("/api/v1/strategies/buying/resume", json=body, headers=risk).status_code == 409
    assert client.post("/api/v1/strategies/nobody/resume", json=body, headers=risk).status_code == 404
    assert client.post(path, json={"reason": ""}, headers=risk).status_code == 422
    response = client.post(path, json=body, headers=risk)
    assert response.status_code == 202, response.text
    with app.state.resources.engine.connect() as db:
        sent = (
            db.execute(submissions.select().where(submissions.c.command_id == response.json()["command_id"]))
            .mappings()
            .one()
        )
    assert (sent["kind"], sent["reason"], sent["arguments"]) == (RESUME_STRATEGY, "fixed", {"strategy": "failing"})
    assert sent["acknowledged"]


def test_a_repeated_resume_with_the_same_key_returns_the_same_command(client: TestClient) -> None:
    app: Any = client.app
    headers = bearer(token_of(app, Role.RISK)) | {"Idempotency-Key": "resume-1"}
    path, body = "/api/v1/strategies/failing/resume", {"reason": "fixed again"}
    first, second = (client.post(path, json=body, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 202, second.text
    assert first.json() == second.json()
    assert client.post(path, json={"reason": "other"}, headers=headers).status_code == 409
