"""The log of configurations on Kafka and PostgreSQL: starts, changes by the API, and what a restart adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from configs.configuration_changes import with_overrides
from configs.configuration_publishing import newest_of
from configs.settings import Settings, load_settings
from deploy.errors import DeployError
from deploy.supervisor.configuration_record import record_start
from deploy.supervisor.topics import TopicSpec, create_topics
from schemas.codec import encode
from schemas.records import Clock, Configuration
from sinks.configuration_log import stored_configurations
from sinks.postgres import PostgresWriter
from sinks.signing_keys import FOLDER, new_key, write_key
from tests.builders import configuration
from tests.integration.api_users import bearer, token_of

CHANGE = {"set": {"risk_manager.max_order_notional": 4321}, "reason": "earnings this evening"}


@pytest.fixture
def settings(database_url: str, redis_url: str, kafka: str) -> Settings:
    prefix = f"configured-{time.time_ns()}-"
    create_topics(kafka, [TopicSpec(f"{prefix}{name}", 1) for name in ("commands", "configuration")])
    addresses = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    return load_settings(environment={**addresses, "KAFKA__TOPIC_PREFIX": prefix})


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets" / FOLDER
    for writer in ("root", "command-line", "api"):
        write_key(folder, new_key("platform", writer, 1))
    return folder


@pytest.fixture
def produce(settings: Settings) -> Callable[..., None]:
    """Return a function that appends records to the topic, as market_data (a clock) or a forger does."""

    def append(*records: Configuration | Clock) -> None:
        producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
        for record in records:
            producer.produce(f"{settings.kafka.topic_prefix}configuration", encode(record), partition=0)
        assert producer.flush(60) == 0

    return append


def test_a_start_records_what_changed_and_a_change_at_run_time_survives_it(
    settings: Settings, keys: Path, produce: Callable[..., None], tmp_path: Path
) -> None:
    first = record_start(settings, "1.0", keys)
    assert first is not None and (first.number, first.overrides, len(first.signers)) == (1, {}, 3)
    assert record_start(settings, "1.0", keys) is None, "an unchanged start adds nothing"
    produce(Clock(60, "market_data"), configuration(2, reason="forged"))
    assert newest_of(settings) == first, "a record without a signature does not count"

    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write([first])  # as the service risk does
    with TestClient(create_app(settings, home=tmp_path)) as client:
        risk, trader = (bearer(token_of(client.app, role)) for role in (Role.RISK, Role.TRADER))  # type: ignore[arg-type]
        shown = client.get("/api/v1/config", headers=trader).json()
        assert shown["configuration_id"] == "config-1"
        assert client.patch("/api/v1/config", headers=trader, json=CHANGE).status_code == 403
        unknown = client.patch("/api/v1/config", headers=risk, json=CHANGE | {"set": {"risk_manager.max_ordr": 1}})
        assert unknown.status_code == 400 and "unknown setting risk_manager.max_ordr" in unknown.json()["detail"]
        receipt = client.patch("/api/v1/config", headers=risk, json=CHANGE).json()
        assert (receipt["configuration_id"], receipt["status"]) == ("config-2", "PENDING")
        repeated = client.patch("/api/v1/config", headers=risk, json=CHANGE).json()
        assert (repeated["configuration_id"], repeated["status"]) == ("config-2", "UNCHANGED")
        changed = newest_of(settings)
        assert changed.overrides == {"risk_manager.max_order_notional": "4321"} and changed.key_id in first.signers
        writer.write([changed])
        client.app.state.resources._in_force_until_s = 0.0  # type: ignore[attr-defined]
        limits = client.get("/api/v1/risk/limits", headers=trader).json()
        assert limits["limits"]["max_order_notional"] == 4321, "the API shows the limit in force"
        history = client.get("/api/v1/config/history", headers=trader).json()
        assert [one["reason"] for one in history] == [CHANGE["reason"], first.reason]
    writer.close()

    assert record_start(settings, "1.1", keys) is None, "the change stays in force over a restart"
    assert record_start(settings, "1.1", None) is None, "a start without keys needs none if nothing has changed"
    edited = with_overrides(settings, {"portfolio_manager.tick_size": '"0.05"'})
    with pytest.raises(DeployError, match="the settings have changed, but this start has no signing keys"):
        record_start(edited, "1.1", None)
    write_key(keys, new_key("platform", "api", 2))  # rotated: root signs the record that names the new key
    later = record_start(edited, "1.1", keys)
    assert later is not None and (later.number, later.overrides) == (3, changed.overrides)
    assert newest_of(edited) == later and later.signers != first.signers
    assert '"max_order_notional":"4321"' in later.settings and '"tick_size":"0.05"' in later.settings
    assert [one.number for one in stored_configurations(settings.database.postgres.url, 9)] == [2, 1]
