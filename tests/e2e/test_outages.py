"""Kafka and Postgres go away in the middle and come back: the services wait, catch up, and leave the same tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.home import Home
from deploy.local.endpoints import Ports
from deploy.local.stack import Stack, running_stack
from deploy.supervisor.migrate import migrate
from tests.e2e.conftest import Outcome, assert_same, outcome
from tests.e2e.platform import Platform, Servers
from tests.replay.runs import feed_ticks

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def own_stack(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Services of this test alone, which stops them. (Asks for `kafka` so that plain pytest fails at once.)"""
    home = Home(tmp_path_factory.mktemp("stack"))
    with running_stack(home, Ports.free(), lambda _line: None, environ={}) as stack:
        yield stack


@pytest.mark.parametrize("away_s", [3, pytest.param(20, marks=pytest.mark.long)])
def test_kafka_and_postgres_away_in_the_middle_change_no_table(
    away_s: int, own_stack: Stack, uninterrupted: Outcome, bars: list[Path], tmp_path: Path
) -> None:
    told, last_ns = own_stack.endpoints, feed_ticks(bars)[-1].ts_ns
    migrate(told.database_url)
    servers = Servers(told.kafka, told.database_url, told.redis_url)
    with Platform(tmp_path / "platform", servers, bars, speed="600" if away_s < 10 else "300") as platform:
        platform.begin()
        for name in ("postgres", "kafka"):
            before = platform.last_tick_ns("risk")
            assert before < last_ns, "the outage must begin in the middle"
            own_stack.stop_one(name)
            time.sleep(away_s)
            own_stack.start_one(name)
            platform.wait_past("risk", before)
        platform.run_to_end()
        assert_same(outcome(platform), uninterrupted)
