"""`config set --preview` and `POST /api/v1/config/preview` on recorded topics: the result, and the limits of a run."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient

from api import preview_process
from api.app import create_app
from api.roles import Role
from configs.configuration_publishing import newest_of
from configs.settings import Settings, load_settings
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS, end_offsets
from deploy.supervisor.configuration_record import record_start
from schemas.records import Order, Valuation
from sinks.postgres import PostgresWriter
from tests.integration.api_users import bearer, token_of
from tests.integration.recorded_platform import cli, make_topics, write
from tests.unit.tape import FAST_STRATEGY, market, platform_output

INPUTS = market(60)
LIMIT = "risk_manager.max_order_notional"


class Platform(NamedTuple):
    settings: Settings
    home: Path
    client: TestClient
    environment: dict[str, str]
    orders: int

    def preview(self, body: dict[str, Any], role: Role = Role.RISK) -> Any:
        headers = bearer(token_of(self.client.app, role))  # type: ignore[arg-type]
        return self.client.post("/api/v1/config/preview", headers=headers, json=body)


@pytest.fixture(scope="module")
def platform(
    make_database: Callable[..., str], redis_url: str, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    home, prefix = tmp_path_factory.mktemp("home"), make_topics(kafka)
    environment = {
        "DATABASE_URL": make_database(),
        "REDIS_URL": redis_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": prefix,
        "SIGNALS__STRATEGIES": json.dumps([FAST_STRATEGY]),
    }
    settings = load_settings(environment=environment)
    outputs = platform_output(INPUTS, settings)
    record_start(settings, "1.0", None)
    write(kafka, prefix, INPUTS, INPUT_TOPICS)
    write(kafka, prefix, outputs, DERIVED_TOPICS)
    records = [record for time_slice in outputs for record in time_slice.records]
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write([newest_of(settings), *(one for one in records if type(one) is Valuation)])
    writer.close()
    with TestClient(create_app(settings, home=home)) as client:
        yield Platform(settings, home, client, environment, sum(type(one) is Order for one in records))


def test_a_preview_reads_the_recording_and_writes_nothing(platform: Platform) -> None:
    topics = [*INPUT_TOPICS, *DERIVED_TOPICS]
    before = end_offsets(platform.settings.kafka, topics), newest_of(platform.settings)
    result = platform.preview({"set": {LIMIT: 1}})
    assert result.status_code == 200, result.text
    shown = result.json()
    assert (shown["time_slices"], shown["recorded"]["orders"]) == (60, platform.orders)
    assert shown["changed"]["orders"] == 0 and shown["changed"]["rejections"]["max_order_notional"] > 0
    assert shown["differences"][0]["recorded"] and "max_order_notional" in shown["differences"][0]["changed"][0]
    assert (end_offsets(platform.settings.kafka, topics), newest_of(platform.settings)) == before
    late = platform.preview({"set": {LIMIT: 1}, "since": "2024-01-02T15:00:00Z"}).json()
    assert (late["since"], late["time_slices"]) == ("2024-01-02T15:00:00Z", 31)


def test_an_invalid_preview_is_an_error(platform: Platform) -> None:
    assert platform.preview({"set": {LIMIT: 1}}, Role.TRADER).status_code == 403
    assert "did you mean max_order_notional" in platform.preview({"set": {f"{LIMIT}s": 1}}).json()["detail"]
    nothing = platform.preview({})
    assert nothing.status_code == 400 and "name settings in `set` or `unset`" in nothing.json()["detail"]
    later = platform.preview({"set": {LIMIT: 1}, "since": "2025-01-01T00:00:00Z"})
    assert later.status_code == 400 and "no time slices at or after 2025-01-01" in later.json()["detail"]


def test_one_preview_runs_at_a_time_and_each_has_limits(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    (platform.home / "run").mkdir(exist_ok=True)
    with (platform.home / "run" / "preview.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = platform.preview({"set": {LIMIT: 1}})
    assert second.status_code == 409 and "Another preview is running" in second.json()["detail"]
    monkeypatch.setattr(preview_process, "MEMORY_LIMIT_BYTES", 2**20)
    small = platform.preview({"set": {LIMIT: 1}})
    assert small.status_code == 503, small.text
    monkeypatch.undo()
    monkeypatch.setattr("api.routers.configuration_preview.TIME_LIMIT_S", 0.1)
    short = platform.preview({"set": {LIMIT: 1}})
    assert short.status_code == 503 and "did not finish within 0.1 s" in short.json()["detail"]
    monkeypatch.undo()
    assert platform.preview({"set": {LIMIT: 1}}).status_code == 200


def test_the_command_line_prints_a_preview(platform: Platform) -> None:
    def run(*arguments: str) -> Any:
        return cli(platform.home, "config", *arguments, **platform.environment)

    done = run("set", f"{LIMIT}=1", "--preview", "--since", "30m")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("31 time slices from 2024-01-02T15:00:00Z") and "nothing was changed" in lines[0]
    assert any(line.split()[:3] == ["rejected", "by", "max_order_notional"] for line in lines)
    tree = json.loads(run("set", f"{LIMIT}=1", "--preview", "--json").stdout)
    assert (tree["time_slices"], tree["recorded"]["orders"]) == (60, platform.orders)
    missing = run("set", f"{LIMIT}=1")
    assert missing.returncode == 2 and "a change needs --reason" in missing.stderr
    assert newest_of(platform.settings).number == 1
