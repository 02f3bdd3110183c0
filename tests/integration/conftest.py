"""The API with the trading loop behind it, which several modules start, each its own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from configs.settings import load_settings
from deploy.supervisor.topics import TopicSpec, create_topics
from tests.integration.api_users import bearer, token_of
from tests.integration.trading_api import TradingApi, TradingLoopRunner


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
