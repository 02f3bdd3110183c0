"""Display queries use the replica; decisions and reads after writes use the primary; the connection pool is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api import read_pool
from api.app import create_app
from api.read_pool import ReadPool
from api.resources import Resources
from api.roles import Role
from configs.settings import Settings, load_settings
from deploy.supervisor.topics import TopicSpec, create_topics
from sinks.database import open_engine
from sinks.postgres import PostgresWriter
from tests.builders import bar
from tests.integration.api_users import bearer, token_of

PREFIX = f"replica-{time.time_ns()}-"
MINUTE = 60_000_000_000
ORDER_REQUEST = {"symbol": "AAPL", "side": "BUY", "quantity": 1, "order_type": "MARKET", "time_in_force": "DAY"}


def write_bar(url: str, close: float) -> None:
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write([bar("AAPL", 1, MINUTE, close)])


@pytest.fixture(scope="module")
def urls(make_database: Callable[[], str]) -> dict[str, str]:
    """Two databases with different prices. The second is read-only, like a standby."""
    databases = {"primary": make_database(), "replica": make_database()}
    write_bar(databases["primary"], 100.0)
    write_bar(databases["replica"], 200.0)
    with closing(psycopg2.connect(databases["primary"])) as db:
        db.autocommit = True
        name = databases["replica"].rsplit("/", 1)[1]
        with db.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    return databases


@pytest.fixture(scope="module")
def settings(urls: dict[str, str], redis_url: str, kafka: str) -> Settings:
    create_topics(kafka, [TopicSpec(f"{PREFIX}commands", 1)])
    environment = {"DATABASE_URL": urls["primary"], "DATABASE_REPLICA_URL": urls["replica"], "REDIS_URL": redis_url}
    return load_settings(environment={**environment, "KAFKA_BOOTSTRAP_SERVERS": kafka, "KAFKA__TOPIC_PREFIX": PREFIX})


@pytest.fixture
def client(settings: Settings, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings, home=tmp_path)) as client:
        yield client


def resources_of(client: TestClient) -> Resources:
    resources: Resources = client.app.state.resources  # type: ignore[attr-defined]
    return resources


@pytest.fixture
def statements_by_database(client: TestClient) -> dict[str, list[str]]:
    """Record the SQL statements that each database receives."""
    recorded: dict[str, list[str]] = {"primary": [], "replica": []}
    resources = resources_of(client)
    assert resources.read_pool.replica is not None

    def listen(engine: Engine, statements: list[str]) -> None:
        def before(connection: Any, cursor: Any, executed: str, *_: Any) -> None:
            statements.append(" ".join(executed.split()))

        event.listen(engine, "before_cursor_execute", before)

    listen(resources.engine, recorded["primary"])
    listen(resources.read_pool.replica, recorded["replica"])
    return recorded


def close_of(client: TestClient, headers: dict[str, str]) -> float:
    response = client.get("/api/v1/market/history/AAPL", headers=headers)
    assert response.status_code == 200, response.text
    [bar] = response.json()["bars"]
    return float(bar["close"])


def test_display_queries_use_the_replica_and_writes_and_decisions_the_primary(
    client: TestClient, statements_by_database: dict[str, list[str]]
) -> None:
    headers = bearer(token_of(client.app, Role.TRADER))  # type: ignore[arg-type]
    assert not statements_by_database["replica"], "users and sessions are the primary's"
    assert any("INSERT INTO users" in statement for statement in statements_by_database["primary"])
    statements_by_database["primary"].clear()

    assert close_of(client, headers) == 200.0
    assert any("FROM bars" in statement for statement in statements_by_database["replica"])
    assert not any("FROM bars" in statement for statement in statements_by_database["primary"])
    for statements in statements_by_database.values():
        statements.clear()

    key = {"Idempotency-Key": "once"}
    first = client.post("/api/v1/orders", json=ORDER_REQUEST, headers={**headers, **key})
    assert first.status_code == 202, first.text
    second = client.post("/api/v1/orders", json=ORDER_REQUEST, headers={**headers, **key})
    assert second.json()["order_id"] == first.json()["order_id"]
    # Read after write: a real replica may not have the row yet, and this replica never receives it.
    assert client.get(f"/api/v1/orders/{first.json()['order_id']}", headers=headers).status_code == 200
    assert client.post("/api/v1/risk/validate", json=ORDER_REQUEST, headers=headers).status_code == 200
    assert statements_by_database["replica"] == []
    assert any("INSERT INTO submissions" in statement for statement in statements_by_database["primary"])


def test_health_names_the_replica(client: TestClient) -> None:
    assert client.get("/health").json()["parts"]["postgres_replica"]["status"] == "ok"


def test_an_unreachable_replica_is_reported_and_the_primary_is_used(settings: Settings, tmp_path: Path) -> None:
    postgres = settings.database.postgres.model_copy(update={"replica_url": "postgresql://u:secret@127.0.0.1:1/none"})
    unreachable = settings.model_copy(update={"database": settings.database.model_copy(update={"postgres": postgres})})
    with TestClient(create_app(unreachable, home=tmp_path)) as client:
        headers = bearer(token_of(client.app, Role.VIEWER))  # type: ignore[arg-type]
        assert close_of(client, headers) == 100.0
        health = client.get("/health").json()
        assert "refused" in health["parts"]["postgres_replica"]["status"]
        [reason] = [text_line for text_line in health["degraded_reasons"] if "read replica" in text_line]
        assert reason.startswith("the read replica is unavailable, queries go to the primary: ")
        assert health["parts"]["postgres"]["status"] == "ok"
        assert "secret" not in str(health)


def test_a_recovered_replica_is_used_again(urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(read_pool, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    primary, replica = open_engine(urls["primary"]), open_engine("postgresql://u@127.0.0.1:1/none")
    reads = ReadPool(primary, replica)

    def read_close() -> float:
        with reads.connect() as db:
            return float(db.execute(text("SELECT close FROM bars")).scalar_one())

    try:
        assert read_close() == 100.0
        replica.dispose()
        reads.replica = replica = open_engine(urls["replica"])
        now_s[0] += read_pool.REPLICA_RETRY_S - 0.1
        assert read_close() == 100.0, "no second request yet"
        now_s[0] += 0.2
        assert read_close() == 200.0
    finally:
        primary.dispose()
        replica.dispose()


def test_the_pool_keeps_pool_size_connections_and_lends_twice_as_many(settings: Settings, tmp_path: Path) -> None:
    postgres = settings.database.postgres.model_copy(update={"pool_size": 3})
    small_pool = settings.model_copy(update={"database": settings.database.model_copy(update={"postgres": postgres})})
    assert settings.database.postgres.pool_size == 20
    with TestClient(create_app(small_pool, home=tmp_path)) as client:
        engine = resources_of(client).engine
        with ExitStack() as connections:
            pids = {
                connections.enter_context(engine.connect()).execute(text("SELECT pg_backend_pid()")).scalar_one()
                for _ in range(6)
            }
            assert len(pids) == 6
            with pytest.raises(PoolTimeout):
                engine.connect()
            # A waiting caller receives the next connection that is returned to the pool.
            results: list[int] = []
            waiting_thread = threading.Thread(target=lambda: results.append(_select_one(engine)))
            waiting_thread.start()
            connections.pop_all().close()
            waiting_thread.join(60)
            assert results
        deadline = time.monotonic() + 60
        while (
            session_count := _count_sessions(settings.database.postgres.url, pids)
        ) != 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert session_count == 3


def _select_one(engine: Engine) -> int:
    with engine.connect() as db:
        return int(db.execute(text("SELECT 1")).scalar_one())


def _count_sessions(url: str, pids: set[int]) -> int:
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", (list(pids),))
        return int(cursor.fetchall()[0][0])
