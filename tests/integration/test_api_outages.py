"""Rate limits, and the API without Redis or PostgreSQL: reads and risk reduction work, new risk is rejected."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import login_limits
from api.app import create_app
from api.roles import Role
from configs.settings import Settings, load_settings
from deploy.supervisor.topics import TopicSpec, create_topics
from tests.integration.api_users import bearer, metrics_of, token_of

PREFIX = f"outages-{time.time_ns()}-"
ORDER_REQUEST = {"symbol": "AAPL", "side": "BUY", "quantity": 1}
HALT = {"action": "halt", "reason": "a drill"}
RELEASE = {"action": "release", "reason": "over"}


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str, kafka: str) -> Settings:
    create_topics(kafka, [TopicSpec(f"{PREFIX}commands", 1)])
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    environment |= {"KAFKA__TOPIC_PREFIX": PREFIX, "API__LOGIN_RATE": "1000/minute"}
    return load_settings(environment={**environment, "API_JWT_KEY": "the-same-key-for-all-of-these-apps"})


@pytest.fixture(scope="module")
def headers_by_role(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Role, dict[str, str]]]:
    """The request headers of each role, created while all services are available."""
    with TestClient(create_app(settings, home=tmp_path_factory.mktemp("home"))) as client:
        yield {role: bearer(token_of(client.app, role)) for role in Role}  # type: ignore[arg-type]


def _with_values(settings: Settings, section: str, name: str, **values: Any) -> Settings:
    """The settings with changed values of `section.name`, or of `section` if the name is empty."""
    parent = getattr(settings, section)
    if not name:
        return settings.model_copy(update={section: parent.model_copy(update=values)})
    child = parent.model_copy(update={name: getattr(parent, name).model_copy(update=values)})
    return settings.model_copy(update={section: child})


def _metric(client: TestClient, line: str) -> float:
    lines = metrics_of(client).splitlines()
    return next((float(line_of_page.rsplit(" ", 1)[1]) for line_of_page in lines if line_of_page.startswith(line)), 0.0)


def test_requests_above_the_rate_get_429_with_retry_after(
    settings: Settings, headers_by_role: dict[Role, dict[str, str]], tmp_path: Path
) -> None:
    limited = _with_values(settings, "api", "", read_rate="5/hour", command_rate="3/hour")
    with TestClient(create_app(limited, home=tmp_path)) as client:
        name = f"busy-{time.time_ns()}"[:31]
        busy = bearer(token_of(client.app, Role.TRADER, name))  # type: ignore[arg-type]
        statuses = [client.get("/api/v1/orders", headers=busy).status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        refused = client.get("/api/v1/orders", headers=busy)
        assert 1 <= int(refused.headers["Retry-After"]) <= 3600 and "5 per 1 hour" in refused.json()["detail"]
        assert (
            client.get("/api/v1/orders", headers=headers_by_role[Role.VIEWER]).status_code == 200
        )  # each user has a separate rate limit
        commands = [client.post("/api/v1/orders", json=ORDER_REQUEST, headers=busy).status_code for _ in range(4)]
        assert commands == [202, 202, 202, 429]  # commands and reads have separate limits
        assert _metric(client, 'platform_api_rate_limited_total{rate="read"}') == 3


def test_login_attempts_are_rate_limited(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(login_limits, "time", SimpleNamespace(time=lambda: now))  # a slow machine outlasts the delay
    limited = _with_values(settings, "api", "", login_rate="3/minute")
    with TestClient(create_app(limited, home=tmp_path), client=(f"10.{time.time_ns() % 250}.0.1", 1)) as client:
        body = {"username": f"guess-{time.time_ns()}", "password": "x"}
        assert [client.post("/api/v1/auth/login", json=body).status_code for _ in range(4)] == [401, 401, 401, 429]


def test_without_redis_reads_halts_and_cancels_work_but_orders_and_releases_fail(
    settings: Settings, headers_by_role: dict[Role, dict[str, str]], tmp_path: Path
) -> None:
    unreachable = _with_values(settings, "database", "redis", url="redis://127.0.0.1:1/0")
    with TestClient(create_app(unreachable, home=tmp_path)) as client:
        assert client.get("/api/v1/orders", headers=headers_by_role[Role.VIEWER]).status_code == 200
        assert (
            client.post("/api/v1/risk/validate", json=ORDER_REQUEST, headers=headers_by_role[Role.TRADER]).status_code
            == 200
        )
        refused = client.post("/api/v1/orders", json=ORDER_REQUEST, headers=headers_by_role[Role.TRADER])
        assert refused.status_code == 503 and "Redis is unavailable" in refused.json()["detail"]
        breaker = "/api/v1/risk/circuit-breaker"
        assert client.post(breaker, json=HALT, headers=headers_by_role[Role.RISK]).status_code == 202
        assert client.post(breaker, json=RELEASE, headers=headers_by_role[Role.RISK]).status_code == 503
        assert client.get("/api/v1/users", headers=headers_by_role[Role.ADMIN]).status_code == 503
        # 404: the API looked for the order.
        assert client.delete("/api/v1/orders/ord-1", headers=headers_by_role[Role.RISK]).status_code == 404
        # Authentication still works. Logout reports that it cannot revoke the token.
        assert client.get("/api/v1/orders", headers=bearer("x")).status_code == 401
        token = bearer(token_of(client.app, Role.VIEWER, "out-in-the-cold"))  # type: ignore[arg-type]
        logout_response = client.post("/api/v1/auth/logout", headers=token)
        assert logout_response.status_code == 503 and "stays valid for up to 5 s" in logout_response.json()["detail"]
        assert _metric(client, 'platform_api_uncounted_total{rate="read"}') >= 2


def test_without_postgres_trading_can_be_halted_and_orders_cancelled(
    settings: Settings, headers_by_role: dict[Role, dict[str, str]], tmp_path: Path
) -> None:
    unreachable = _with_values(settings, "database", "postgres", url="postgresql://u:secret@127.0.0.1:1/none")
    with TestClient(create_app(unreachable, home=tmp_path)) as client:
        risk, trader = headers_by_role[Role.RISK], headers_by_role[Role.TRADER]
        assert client.post("/api/v1/risk/circuit-breaker", json=HALT, headers=risk).status_code == 202
        assert client.delete("/api/v1/orders/ord-1", headers=risk).status_code == 202
        for refused in (
            client.post("/api/v1/risk/circuit-breaker", json=RELEASE, headers=risk),
            client.post("/api/v1/orders", json=ORDER_REQUEST, headers=trader),
            client.get("/api/v1/orders", headers=trader),
            client.post("/api/v1/auth/login", json={"username": "a", "password": "b"}),
        ):
            assert refused.status_code == 503 and "database" in refused.json()["detail"], refused.text
        # Without the database, the API still rejects a role without the permission.
        assert client.post("/api/v1/risk/circuit-breaker", json=HALT, headers=trader).status_code == 403


def test_a_short_signing_key_is_rejected_and_not_shown() -> None:
    from schemas.errors import BadInput

    with pytest.raises(BadInput) as error:
        load_settings(environment={"API_JWT_KEY": "hush-hush"})
    assert "jwt_key" in str(error.value) and "hush" not in str(error.value)
    with pytest.raises(BadInput, match="read_rate"):
        load_settings(environment={"API__READ_RATE": "fast"})
