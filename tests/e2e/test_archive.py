"""`archive create` on a running platform: the services continue, and every command reads archive and topics."""

from __future__ import annotations

import json
import time
from datetime import time as time_of_day
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.e2e.cli_platform import CliPlatform
from tests.e2e.operator_actions import query
from tests.replay.market import MONDAY, write_market

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
DAYS = [MONDAY + timedelta(days=number) for number in range(4)]
RETENTION = dict.fromkeys(("market-bars", "market-quotes", "history-bars", "features", "predictions"), 1)


def wait_for_bars(platform: CliPlatform, count: int) -> None:
    deadline = time.monotonic() + 300
    while query(platform, "SELECT count(*) FROM valuations")[0][0] < count:
        assert time.monotonic() < deadline, "the services do not reach the end of the files"
        time.sleep(0.5)


def test_a_platform_runs_on_with_archived_topics(tmp_path: Path) -> None:
    minutes = 30
    bars = write_market(
        tmp_path / "bars", symbols=("A", "B", "C"), days=DAYS, open_time=time_of_day(10), minutes=minutes
    )
    platform = CliPlatform(tmp_path / "home")
    platform.environment["KAFKA__RETENTION"] = json.dumps(RETENTION)
    try:
        platform.run("start", "--feed", "files", "--bars", *map(str, bars), "--speed", "max")
        wait_for_bars(platform, len(DAYS) * minutes)
        expected = platform.run_json("replay-check")
        dry = platform.run_json("archive", "create", "--dry-run")
        assert dry["messages"] > 0 and {cut["topic"] for cut in dry["cuts"]} == set(RETENTION)
        created = platform.run_json("archive", "create")
        assert created["messages"] == 0 and created["cuts"] == dry["cuts"]
        listed = platform.run_json("archive", "list")["topics"]
        days = [day.isoformat() for day in DAYS[:-1]]
        assert listed["market-bars"]["days"] == days and listed["orders"]["days"] == days
        assert platform.run_json("replay-check") == expected
        disk = json.loads(platform.run("status", "--detailed", "--json"))["disk"]
        assert disk["topics"]["market-bars"] > 0 and disk["tables"]["bars"] > 0 and disk["folders"]["archive"] > 0
        assert "GB free" in platform.run("status", "--detailed")

        platform.run("archive", "restore", "--topic", "market-bars", "--to", DAYS[0].isoformat())
        consumer = Consumer({**platform.viewer, "group.id": "viewer"})
        consumer.assign([TopicPartition("archived-market-bars", partition, 0) for partition in range(4)])
        assert consumer.consume(10, 30)
        consumer.close()

        platform.run("stop")
        assert "features continues at the next start" in platform.run("rebuild", "features")
        platform.run("restart")
        assert platform.run_json("archive", "create")["cuts"] == []
        verified = platform.run_json("verify")
        assert [check["name"] for check in verified["checks"] if check["difference"] is not None] == []
        order_id = query(platform, "SELECT order_id FROM orders ORDER BY seq LIMIT 1")[0][0]
        assert "[market-bars/" in platform.run("explain", order_id)
        platform.run("stop")
        replayed = platform.run_json("archive", "replay")
        assert replayed["equal"] and replayed["ticks"] == minutes * len(days)
    finally:
        platform.cli("stop")
