"""Log-ins under attack, on a real Redis and PostgreSQL: delays per account and address, in all API processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import login_limits
from api.app import create_app
from api.roles import Role
from configs.settings import Settings, load_settings
from tests.integration.api_users import PASSWORD, metrics_of, token_of

PROXY = "10.9.9.9"


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    """A new username is used in each test, because all tests share Redis."""
    addresses = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    return load_settings(environment={**addresses, "API__LOGIN_RATE": "3/minute", "API__TRUSTED_PROXIES": f"[{PROXY}]"})


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the limiter stands still, so that a slow machine does not outlast a delay."""
    now = time.time()
    monkeypatch.setattr(login_limits, "time", SimpleNamespace(time=lambda: now))


@pytest.fixture
def name() -> str:
    return f"u{time.time_ns()}"[:31]


@pytest.fixture
def client(settings: Settings, name: str, tmp_path: Any) -> Iterator[TestClient]:
    with TestClient(create_app(settings, home=tmp_path), client=(PROXY, 4000)) as client:
        token_of(client.app, Role.TRADER, name)  # type: ignore[arg-type]
        yield client


def _address() -> str:
    """A new address of the network 2001:db8::/32, one per /64."""
    return f"2001:db8:{time.time_ns() % 65_536:x}:{time.time_ns() // 65_536 % 65_536:x}::1"


def _log_in(client: TestClient, name: str, password: str, forwarded_for: str) -> Any:
    body = {"username": name, "password": password}
    return client.post("/api/v1/auth/login", json=body, headers={"X-Forwarded-For": forwarded_for})


def test_a_client_cannot_avoid_the_delay_by_rotating_forged_addresses(client: TestClient, name: str) -> None:
    attacker = _address()
    statuses = [
        _log_in(client, f"other{number}-{name[:20]}", "x", f"198.51.100.{number}, {attacker}").status_code
        for number in range(5)
    ]
    assert statuses == [401, 401, 401, 429, 429]


def test_an_account_under_attack_from_elsewhere_stays_usable(client: TestClient, name: str) -> None:
    home = _address()
    assert _log_in(client, name, PASSWORD, home).status_code == 200
    statuses = [_log_in(client, name, "wrong", _address()).status_code for _ in range(10)]
    assert set(statuses) == {401, 429} and statuses[:3] == [401, 401, 401]
    for _ in range(5):
        assert _log_in(client, name, PASSWORD, home).status_code == 200, "the known address of the user"
    refused = _log_in(client, name, PASSWORD, _address())
    assert refused.status_code == 429 and 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "Too many failed log-ins" in refused.json()["detail"]


def test_all_api_processes_share_the_delay(client: TestClient, name: str, settings: Settings, tmp_path: Any) -> None:
    attacker = _address()
    for _ in range(3):
        assert _log_in(client, name, "wrong", attacker).status_code == 401
    with TestClient(create_app(settings, home=tmp_path), client=(PROXY, 4000)) as other_process:
        assert _log_in(other_process, name, PASSWORD, attacker).status_code == 429


def test_failed_log_ins_are_counted_and_logged_without_secrets(
    client: TestClient, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attacker = _address()
    for username in (name, name, name, "Hunter2 typed into the wrong field"):
        _log_in(client, username, "wrong-secret", attacker)
    page = [line for line in metrics_of(client).splitlines() if line.startswith("platform_api_failed_logins_total")]
    assert 'platform_api_failed_logins_total{reason="wrong password or code"} 3.0' in page
    assert 'platform_api_failed_logins_total{reason="delayed"} 1.0' in page
    log = capsys.readouterr().out
    assert log.count("log-in rejected") == 4 and name in log and attacker in log
    assert "wrong-secret" not in log and "Hunter2" not in log


def test_without_redis_each_process_limits_by_itself(settings: Settings, name: str, tmp_path: Any) -> None:
    redis = settings.database.redis.model_copy(update={"url": "redis://127.0.0.1:1/0"})
    database = settings.database.model_copy(update={"redis": redis})
    with TestClient(create_app(settings.model_copy(update={"database": database}), home=tmp_path)) as client:
        token_of(client.app, Role.TRADER, name)  # type: ignore[arg-type]
        statuses = [_log_in(client, name, "wrong", "").status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
