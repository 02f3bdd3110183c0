"""The API with the trading loop behind it, which several modules start, each its own, and cheap password checks."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from api import passwords
from api.app import create_app
from api.roles import Role
from configs.settings import load_settings
from deploy.supervisor.topics import TopicSpec, create_topics
from tests.integration.api_users import bearer, token_of
from tests.integration.trading_api import TradingApi, TradingLoopRunner


@pytest.fixture(scope="module", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Hash with the same algorithm, but with little memory and one pass.

    A module has up to six users, and each costs several hashes of 0.3 s of processor time. `tests/unit/test_passwords`
    tests the real cost; the platforms of `tests/e2e` have it.
    """
    with pytest.MonkeyPatch.context() as patch:
        hasher = Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1)
        patch.setattr(passwords, "_hasher", PasswordHash((hasher,)))
        passwords._placeholder_hash.cache_clear()
        yield
    passwords._placeholder_hash.cache_clear()


@pytest.fixture(scope="module")
def trading_api(
    database_url: str, redis_url: str, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TradingApi]:
    prefix = f"api-{time.time_ns()}-"
    create_topics(kafka, [TopicSpec(f"{prefix}commands", 1)])
    settings = load_settings(
        environment={
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "KAFKA__TOPIC_PREFIX": prefix,
            "API__COMMAND_RATE": "10000/minute",
            "API__READ_RATE": "10000/minute",
        }
    )
    with TestClient(create_app(settings, home=tmp_path_factory.mktemp("home"))) as client:
        platform = TradingLoopRunner(settings)
        try:
            trader, risk = (bearer(token_of(client.app, role)) for role in (Role.TRADER, Role.RISK))  # type: ignore[arg-type]
            yield TradingApi(settings, client, platform, trader, risk)
        finally:
            platform.close()
