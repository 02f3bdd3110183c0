"""The read API on a real PostgreSQL and Redis, against the brief's examples and its own OpenAPI schema."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.json_types import utc
from api.routers.orders import STATUS_CONDITIONS, Status
from configs.settings import Settings, load_settings
from operators.ledger import Ledger
from schemas.codec import SCHEMA_IDS, decode, encode
from schemas.records import (
    ACTIVE,
    CANCELED,
    EXPIRED,
    NEW,
    REJECTED,
    REPLACED,
    TRADE,
    Bar,
    CheckResult,
    Execution,
    Order,
    Record,
)
from schemas.records.constants import ExecType
from sinks.postgres import PostgresWriter
from sinks.redis import LatestWriter
from tests.builders import bar, execution, fence, order, report, valuation
from tests.integration.api_users import log_in, metrics_of

D = Decimal
MINUTE = 60_000_000_000
T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
REPORT_AHEAD_S = 3600.0
"""Reports carry a later time than now, so that they do not become stale while a slow test runs."""


def _order(seq: int) -> Order:
    return order(seq, quantity=100, ts_ns=T0 + seq * MINUTE, checks=[CheckResult("cash", "15025", "50000")])


def _report(seq: int, reported: Order, exec_type: ExecType, quantity: int = 0, price: float = 0) -> Execution:
    """Build the order's report `seq`. The fill of 40 is the last one."""
    remaining = 0 if exec_type == TRADE and quantity == 40 else None
    return report(
        seq,
        reported,
        exec_type,
        quantity,
        price,
        remaining=remaining,
        fee=1.005,
        ts_ns=reported.ts_ns + seq,
        filled_at_ns=reported.ts_ns + 15_000_000_000,
    )


def sample_records() -> list[Record]:
    """Buy 100 AAPL at 150.25 in two fills, value them at 155, and add one order in each other state."""
    first = _order(1)
    orders = [first, *(_order(seq) for seq in range(2, 9))]
    fills = [
        _report(1, first, NEW),
        _report(2, first, TRADE, 60, 150.15),
        _report(3, first, TRADE, 40, 150.4),
    ]
    exec_types: list[tuple[int, ExecType]] = [(2, NEW), (3, CANCELED), (4, EXPIRED), (5, REJECTED)]
    other_reports = [_report(seq + 10, orders[seq - 1], exec_type) for seq, exec_type in exec_types]
    other_reports.append(_report(16, orders[5], TRADE, 30, 151))
    other_reports.append(_report(17, orders[7], REPLACED))
    # The ledger also contains the partial fill. Order 7 has no execution report.
    ledger = Ledger(D(1_000_000))
    ledger_records = [record for fill in [*fills, *other_reports] for record in ledger.apply(fill)]
    bars = [bar("AAPL", seq, T0 + seq * MINUTE, 150.0 + seq) for seq in range(1, 11)]
    market_value = D(130) * D(155)
    start = valuation(1, T0, 1_000_000)
    marked = valuation(
        3,
        T0 + 5 * MINUTE,
        ledger.cash + market_value,
        cash=ledger.cash,
        gross_exposure=market_value,
        unrealized_pnl=market_value - ledger.cost,
        fees=ledger.fees,
        open_positions=1,
    )
    low = marked._replace(seq=2, ts_ns=T0 + MINUTE, equity=D(900_000))
    return [*orders, *fills, *other_reports, *ledger_records, *bars, start, low, marked]


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str) -> Settings:
    # No broker listens at this address: requests that need Kafka must report an error and not hang.
    return load_settings(
        environment={"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    )


@pytest.fixture(scope="module")
def client(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write(sample_records())
    writer.close()
    home = tmp_path_factory.mktemp("home")
    with TestClient(create_app(settings, home=home)) as client:
        yield log_in(client)


@pytest.fixture
def empty_client(make_database: Callable[[], str], settings: Settings, tmp_path: Path) -> Iterator[TestClient]:
    environment = {"DATABASE_URL": make_database(), "REDIS_URL": settings.database.redis.url}
    with TestClient(create_app(load_settings(environment=environment), home=tmp_path)) as client:
        yield log_in(client)


def _get(client: TestClient, path: str, status: int = 200) -> Any:
    response = client.get(path)
    assert response.status_code == status, response.text
    return response.json()


def _assert_problem(client: TestClient, path: str, status: int, text: str) -> None:
    response = client.get(path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status and text in body["detail"] and "Traceback" not in response.text


def test_portfolio_state_has_the_fields_of_the_brief_and_its_parts_add_up(client: TestClient) -> None:
    state = _get(client, "/api/v1/portfolio/state")
    assert {"portfolio_id", "total_value", "cash_balance", "positions", "last_updated"} <= state.keys()
    assert state["portfolio_id"] == "default_portfolio"
    assert state["last_updated"] == "2024-01-15T10:35:00Z"
    (position,) = state["positions"]
    assert position == {
        "symbol": "AAPL",
        "quantity": 130,
        "avg_price": pytest.approx(150.423076923),
        "market_value": 20150.0,
        "unrealized_pnl": pytest.approx(595.0),
    }
    assert state["total_value"] == pytest.approx(state["cash_balance"] + position["market_value"])
    assert state["unrealized_pnl"] == pytest.approx(position["unrealized_pnl"])


def test_a_position_has_the_fields_of_the_brief_at_the_latest_close(client: TestClient) -> None:
    position = _get(client, "/api/v1/portfolio/positions/AAPL")
    assert position["current_price"] == 160.0
    assert position["market_value"] == 20800.0
    assert position["cost_basis"] == 19555.0
    assert position["unrealized_pnl"] == 1245.0
    assert position["last_updated"] == "2024-01-15T10:40:00Z"
    assert _get(client, "/api/v1/portfolio/positions") == [position]
    _assert_problem(client, "/api/v1/portfolio/positions/NOPE", 404, "NOPE")


def test_performance_is_measured_from_the_initial_capital(client: TestClient) -> None:
    report = _get(client, "/api/v1/portfolio/performance")
    assert report["initial_equity"] == 1_000_000
    assert report["max_drawdown"] == pytest.approx(0.1)
    assert report["total_return"] == pytest.approx(report["final_equity"] / 1_000_000 - 1)
    assert report["sharpe"] is None  # the series covers only one day
    assert report["trades"] == 0 and report["win_rate"] is None


def test_an_order_has_the_fields_of_the_brief(client: TestClient) -> None:
    order = _get(client, "/api/v1/orders/ord-1")
    expected = {
        "order_id": "ord-1",
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": 100,
        "filled_quantity": 100,
        "avg_fill_price": 150.25,
        "status": "FILLED",
        "submitted_at": "2024-01-15T10:31:00Z",
        "filled_at": "2024-01-15T10:31:15Z",
    }
    assert expected.items() <= order.items()
    assert '"quantity":100,' in client.get("/api/v1/orders/ord-1").text  # an integer, not 100.0
    assert order["checks"] == [{"check": "cash", "found": "15025", "limit": "50000"}]
    assert [report["type"] for report in order["executions"]] == [NEW, TRADE, TRADE]
    _assert_problem(client, "/api/v1/orders/ord-999", 404, "ord-999")


STATUS_BY_SEQ: dict[int, Status] = {
    1: "FILLED",
    2: "ACCEPTED",
    3: "CANCELLED",
    4: "EXPIRED",
    5: "REJECTED",
    6: "PARTIALLY_FILLED",
    7: "PENDING",
    8: "REPLACED",
}


def test_filtering_by_status_agrees_with_the_status_shown(client: TestClient) -> None:
    assert set(STATUS_BY_SEQ.values()) == set(STATUS_CONDITIONS)
    for seq, status in STATUS_BY_SEQ.items():
        page = _get(client, f"/api/v1/orders?status={status}")
        assert [(order["order_id"], order["status"]) for order in page["orders"]] == [(f"ord-{seq}", status)]


def test_orders_are_paged_newest_first(client: TestClient) -> None:
    order_ids: list[str] = []
    path = "/api/v1/orders?symbol=AAPL&side=BUY&limit=3"
    page = _get(client, path)
    while True:
        order_ids += [order["order_id"] for order in page["orders"]]
        if page["next"] is None:
            break
        page = _get(client, f"{path}&before={page['next']}")
    assert order_ids == [f"ord-{seq}" for seq in range(8, 0, -1)]
    assert _get(client, "/api/v1/orders?side=SELL") == {"orders": [], "next": None}
    _assert_problem(client, "/api/v1/orders?limit=0", 422, "limit")
    _assert_problem(client, "/api/v1/orders?status=LOST", 422, "status")


def test_the_price_comes_from_redis_or_else_from_postgres(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    expected = {"symbol": "AAPL", "price": 160.0, "volume": 1000.0, "timestamp": "2024-01-15T10:40:00Z"}
    assert expected.items() <= _get(client, "/api/v1/market/price/AAPL").items()
    writer = LatestWriter(settings.database.redis.url)
    writer.put([bar("AAPL", 11, T0 + 11 * MINUTE, 161.5), bar("ONLYREDIS", 1, T0, 5.0)])
    assert writer.flush(5.0)
    writer.close()
    assert _get(client, "/api/v1/market/price/AAPL")["price"] == 161.5
    assert _get(client, "/api/v1/market/price/ONLYREDIS")["price"] == 5.0
    _assert_problem(client, "/api/v1/market/price/NOPE", 404, "NOPE")
    without_redis = settings.model_copy(deep=True, update={"database": _without_redis(settings)})
    with TestClient(create_app(without_redis, home=tmp_path)) as fallback_client:
        log_in(fallback_client)
        assert _get(fallback_client, "/api/v1/market/price/AAPL")["price"] == 160.0


def _without_redis(settings: Settings) -> Any:
    redis = settings.database.redis.model_copy(update={"url": "redis://127.0.0.1:1"})
    return settings.database.model_copy(update={"redis": redis})


def test_history_is_oldest_first_within_its_bounds(client: TestClient) -> None:
    path = "/api/v1/market/history/AAPL"
    assert [row["close"] for row in _get(client, f"{path}?limit=3")["bars"]] == [158.0, 159.0, 160.0]
    page = _get(client, f"{path}?start=2024-01-15T10:32:00Z&end=2024-01-15T10:35:00&limit=2")
    assert [row["close"] for row in page["bars"]] == [152.0, 153.0]
    assert page["next_start"] == "2024-01-15T10:34:00Z"
    page = _get(client, f"{path}?start={page['next_start']}&end=2024-01-15T10:35:00Z")
    assert [row["close"] for row in page["bars"]] == [154.0]
    assert page["next_start"] is None
    assert _get(client, f"{path}?start=2025-01-01T00:00:00Z")["bars"] == []
    _assert_problem(client, f"{path}?start=2025-01-01&end=2024-01-01", 400, "before end")
    _assert_problem(client, f"{path}?start=yesterday", 422, "start")
    _assert_problem(client, f"{path}?start=9999-01-01", 400, "1678")
    _assert_problem(client, "/api/v1/market/history/NOPE", 404, "NOPE")


def test_risk_limits_and_the_fence_are_shown(client: TestClient, settings: Settings) -> None:
    limits = _get(client, "/api/v1/risk/limits")
    assert (limits["state"], limits["epoch"]) == ("ACTIVE", 0)
    assert limits["limits"]["max_order_notional"] == 100_000
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write(
        [
            fence(9, epoch=1, ts_ns=T0),
            fence(10, epoch=2, state=ACTIVE, ts_ns=T0 + 1, reason="over"),
        ]
    )
    writer.close()
    limits = _get(client, "/api/v1/risk/limits")
    assert (limits["state"], limits["epoch"], limits["reason"]) == ("ACTIVE", 2, "over")


def test_before_the_first_bar_the_portfolio_is_its_initial_capital(empty_client: TestClient) -> None:
    state = _get(empty_client, "/api/v1/portfolio/state")
    assert (state["total_value"], state["cash_balance"], state["positions"]) == (1_000_000, 1_000_000, [])
    report = _get(empty_client, "/api/v1/portfolio/performance")
    assert (report["total_return"], report["max_drawdown"], report["sharpe"]) == (0, 0, None)
    assert _get(empty_client, "/api/v1/orders") == {"orders": [], "next": None}


def test_health_names_unreachable_services_and_metrics_show_the_dataflows(settings: Settings, tmp_path: Path) -> None:
    stats = tmp_path / "run" / "stats"
    stats.mkdir(parents=True)
    base_fields = {"pid": 1, "started_at": time.time(), "last_tick_ns": T0, "records_in": 7, "records_out": 3}
    counts = {"dead_letters": 2, "late_records": 0, "duplicates": 1, "seq_gaps": 0, "feed_finished": False}
    for service, age in (("features", -REPORT_AHEAD_S), ("signals", 3600)):
        text = json.dumps({"service": service, "updated_at": time.time() - age, **base_fields, **counts})
        (stats / f"{service}.json").write_text(text)
    (tmp_path / "run" / "state.json").write_text(json.dumps({"degraded": ["Kafka is replaced by Tansu"]}))
    (stats / "broken.json").write_text("{")
    with TestClient(create_app(settings, home=tmp_path)) as client:
        health = _get(client, "/health", 503)
        assert health["degraded"] is True and health["status"] == "failing"
        assert health["parts"]["postgres"]["status"] == "ok" and health["parts"]["redis"]["status"] == "ok"
        assert health["parts"]["kafka"]["status"] != "ok"
        assert health["dataflows"]["features"]["status"] == "ok"
        stale = re.fullmatch(r"stale: last report (\d+) s ago, .*", health["dataflows"]["signals"]["status"])
        assert stale is not None and int(stale[1]) >= 3600
        assert "not running" in health["dataflows"]["risk"]["status"]
        log_in(client).get("/api/v1/orders/none")
        metrics = metrics_of(client)
    for line in (
        'platform_dataflow_records_in_total{service="features"} 7.0',
        'platform_dataflow_dead_letters_total{service="signals"} 2.0',
        "platform_degraded 1.0",
        'platform_api_request_seconds_count{method="GET",route="/api/v1/orders/{order_id}",status="404"} 1.0',
    ):
        assert line in metrics, metrics
    assert "platform_database_statement_seconds_bucket" in metrics


def test_health_is_ok_when_every_service_responds(settings: Settings, kafka: str, tmp_path: Path) -> None:
    stats = tmp_path / "run" / "stats"
    stats.mkdir(parents=True)
    for service in {topic.owner for topic in settings.kafka.topics.values() if topic.owner}:
        (stats / f"{service}.json").write_text(
            json.dumps({"service": service, "updated_at": time.time() + REPORT_AHEAD_S})
        )
    reachable = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap_servers": kafka})})
    with TestClient(create_app(reachable, home=tmp_path)) as client:
        health = _get(client, "/health")
    assert health["status"] == "ok" and health["degraded"] is False


def test_an_unreachable_database_is_reported_in_one_sentence(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    postgres = settings.database.postgres.model_copy(update={"url": "postgresql://u:secret@127.0.0.1:1/none"})
    unreachable = settings.model_copy(update={"database": settings.database.model_copy(update={"postgres": postgres})})
    # PostgreSQL cannot confirm the session either. The API accepts a valid signature for requests that only read.
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "api-jwt-key").write_text(client.app.state.resources.jwt_key)  # type: ignore[attr-defined]
    with TestClient(create_app(unreachable, home=tmp_path), headers=dict(client.headers)) as unreachable_client:
        _assert_problem(unreachable_client, "/api/v1/portfolio/state", 503, "The database is unavailable.")
        assert "secret" not in unreachable_client.get("/health").text


def test_the_registry_gives_the_schema_of_every_message(client: TestClient) -> None:
    message = encode(bar("AAPL", 1, T0))
    response = client.get(f"/schema-registry/schemas/ids/{int.from_bytes(message[1:5], 'big')}")
    assert response.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
    schema = json.loads(response.json()["schema"])
    assert [field["name"] for field in schema["fields"]] == list(Bar._fields)
    assert decode(message) == bar("AAPL", 1, T0)
    subjects = _get(client, "/schema-registry/subjects")
    assert len(subjects) == len(SCHEMA_IDS) and "trading.Bar" in subjects
    latest = _get(client, "/schema-registry/subjects/trading.Bar/versions/latest")
    assert (latest["id"], latest["version"]) == (SCHEMA_IDS[Bar], 1)
    assert latest == _get(client, "/schema-registry/subjects/trading.Bar/versions/1")
    assert _get(client, "/schema-registry/schemas/ids/999", 404)["error_code"] == 40403
    assert _get(client, "/schema-registry/subjects/none/versions", 404)["error_code"] == 40401
    assert _get(client, "/schema-registry/subjects/trading.Bar/versions/2", 404)["error_code"] == 40402


def test_an_unknown_path_is_a_problem_and_the_docs_are_served(client: TestClient) -> None:
    _assert_problem(client, "/api/v1/nothing", 404, "/api/v1/nothing")
    docs = client.get("/docs")
    assert docs.status_code == 200 and "/api/v1/orders/{order_id}" in docs.text and "OrderTicket" in docs.text
    # The page has no script and loads nothing, neither from a CDN nor from the API.
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|src=|https?://", docs.text)
    assert "default-src 'none'" in docs.headers["Content-Security-Policy"]
    openapi = _get(client, "/openapi.json")
    assert openapi["components"]["schemas"]["OrderStatus"]["properties"]["quantity"]["type"] == "number"
    paths = openapi["paths"]
    assert {"/api/v1/portfolio/state", "/api/v1/orders/{order_id}", "/health"} <= paths.keys()


def test_times_are_utc_to_the_microsecond() -> None:
    assert utc(execution(1, T0, "A", 1, 1.0).ts_ns) == "2024-01-15T10:30:00Z"
