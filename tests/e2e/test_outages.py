"""Kafka and PostgreSQL stop and restart during a run: the services wait, catch up and leave the same tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.home import Home
from deploy.local.ports import Ports
from deploy.local.stack import ServiceStack, running_stack
from deploy.supervisor.migrate import migrate
from tests.e2e.conftest import TRADING_STRATEGY, RunResult, assert_same, read_result
from tests.e2e.process_platform import ProcessPlatform, Servers
from tests.replay.runs import read_time_slices

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def own_stack(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceStack]:
    """Services of this test only, because the test stops them. Requests `kafka` so that plain pytest fails at once."""
    home = Home(tmp_path_factory.mktemp("stack"))
    with running_stack(home, Ports.free(), lambda _line: None, environ={}) as stack:
        yield stack


@pytest.mark.parametrize("away_s", [3, pytest.param(20, marks=pytest.mark.long)])
def test_kafka_and_postgres_outages_change_no_table(
    away_s: int, own_stack: ServiceStack, uninterrupted: RunResult, bars: list[Path], tmp_path: Path
) -> None:
    endpoints, last_ns = own_stack.endpoints, read_time_slices(bars)[-1].ts_ns
    migrate(endpoints.database_url)
    servers = Servers(endpoints.kafka, endpoints.database_url, endpoints.redis_url)
    # The tape outlasts both outages also on a slow machine. After them, nothing waits for it.
    speed = "100" if away_s < 10 else "66"
    with ProcessPlatform(tmp_path / "platform", servers, bars, speed=speed, overrides=TRADING_STRATEGY) as platform:
        platform.start_feed_last()
        for name in ("postgres", "kafka"):
            last_ns_before = platform.last_tick_ns("risk")
            assert last_ns_before < last_ns, "the outage must begin in the middle"
            own_stack.stop_one(name)
            time.sleep(away_s)
            own_stack.start_one(name)
            platform.wait_until_past("risk", last_ns_before)
        platform.speed = "max"
        platform.restart("market_data")
        platform.run_to_end()
        assert_same(read_result(platform), uninterrupted)
