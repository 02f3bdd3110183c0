"""The latest values in a real Redis: an older value never replaces a newer one, and an outage blocks nothing."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from deploy.home import Home
from deploy.local.ports import free_ports
from deploy.local.redis import prepare
from operators.stage import TimeSlice
from sinks.redis import LatestWriter, RedisLatestSink, RedisSinkPartition
from tests.builders import bar, position


class RedisServer:
    """A Redis of this test only, so that the test can stop it."""

    def __init__(self, folder: Path) -> None:
        home = Home(folder)
        home.create_folders()
        (port,) = free_ports(1)
        embedded = prepare(home, port)
        self.url = embedded.url
        self._command = embedded.service.command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            wait_until(lambda: _responds(client))

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)


def _responds(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.02)


def _read_value(client: redis.Redis, key: str) -> dict[str, object]:
    value = client.get(key)
    assert isinstance(value, bytes), f"{key} is not there"
    decoded: dict[str, object] = json.loads(value)
    return decoded


def _sink_partition(url: str) -> RedisSinkPartition:
    return RedisLatestSink(url).build_part("redis", "0", None)


def test_an_older_value_never_replaces_a_newer_one_and_only_changes_are_published(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.delete("latest:bar:OLD", "latest:bar:OLD:fence")
    subscription = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    subscription.subscribe("updates:bars")
    subscription.get_message(timeout=1.0)
    t0 = 1_700_000_000_000_000_000
    # Adjacent timestamps that are equal as doubles.
    for seq, ts_ns in ((2, t0 + 2), (1, t0 + 1), (2, t0 + 2), (3, t0 + 3)):
        writer = LatestWriter(redis_url)
        writer.put([bar("OLD", seq, ts_ns, 100.0 + seq)])
        assert writer.flush(60.0)
        writer.close()
    assert _read_value(client, "latest:bar:OLD")["close"] == 103.0
    published = []
    while (message := subscription.get_message(timeout=0.5)) is not None:
        published.append(json.loads(message["data"]))
    assert [update["seq"] for update in published if update["symbol"] == "OLD"] == [2, 3]
    subscription.close()
    client.close()


def test_a_redis_outage_does_not_delay_the_flow_and_redis_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = RedisServer(tmp_path)
    server.start()
    part = _sink_partition(server.url)
    part.write_batch([[TimeSlice(1, [bar("A", 1, 1)])]])
    assert part.writer.flush(60.0)
    server.stop()
    connecting_threads: set[int] = set()
    connect = redis.Connection.connect

    def recorded_connect(connection: redis.Connection, *arguments: object) -> None:
        connecting_threads.add(threading.get_ident())
        connect(connection, *arguments)  # type: ignore[no-untyped-call]  # redis has no types here

    monkeypatch.setattr(redis.Connection, "connect", recorded_connect)
    for seq in range(2, 502):
        part.write_batch([[TimeSlice(seq, [bar("A", seq, seq, float(seq)), bar("B", seq, seq)])]])
    assert not connecting_threads & {threading.get_ident()}, "a write waited for Redis"
    wait_until(lambda: part.writer.disconnected and bool(connecting_threads))
    assert part.writer.superseded >= 400
    server.start()
    part.write_batch([[TimeSlice(502, [position(7, 502, "A", 1.5)])]])
    assert part.writer.flush(60.0)
    assert not part.writer.disconnected
    with redis.Redis.from_url(server.url) as client:
        assert _read_value(client, "latest:bar:A")["close"] == 501.0
        assert _read_value(client, "latest:bar:B")["seq"] == 501
        assert _read_value(client, "latest:position:A")["quantity"] == "1.5"
    part.close()
    server.stop()


@pytest.mark.timeout(60)
def test_closing_does_not_wait_for_an_unreachable_redis(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    part = _sink_partition(server.url)
    part.write_batch([[TimeSlice(1, [bar("A", 1, 1)])]])
    wait_until(lambda: part.writer.disconnected)
    part.close()
