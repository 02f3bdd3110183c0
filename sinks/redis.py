"""Publish the latest bar, position and valuation to Redis: a cache, never the source of truth.

Each key is a JSON string of the record's fields, with money as text. Each change is also published to a channel:

| key                          | channel              | holds                          | replaced by a higher |
|------------------------------|----------------------|--------------------------------|----------------------|
| `latest:bar:{symbol}`        | `updates:bars`       | the last bar (price = `close`) | `ts_ns`              |
| `latest:position:{symbol}`   | `updates:positions`  | the position                   | `seq`                |
| `latest:valuation`           | `updates:valuations` | the portfolio's value          | `seq`                |

`{key}:fence` holds that `ts_ns` or `seq` in twenty digits. Replays change and publish nothing.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import redis
import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.stage import TimeSlice
from schemas.records import Bar, Position, Record, Valuation
from sinks.background_thread import BackgroundThread

log = structlog.get_logger(__name__)

PENDING_MAX = 20_000
"""Maximum number of pending keys. A symbol is one key, so this bounds memory, not time."""
RETRY_PAUSE_S = (0.2, 2.0)
CLOSE_WAIT_S = 1.0

# Twenty-digit texts compare correctly; Lua's numbers are doubles and would round nanoseconds.
_REPLACE = """
local stored = redis.call('GET', KEYS[2])
if stored and stored >= ARGV[1] then return 0 end
redis.call('MSET', KEYS[1], ARGV[2], KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[2])
return 1
"""


class LatestValue(NamedTuple):
    """A key's newest value that is not in Redis yet."""

    fence: int
    channel: str
    record: Record


def latest_value_of(record: Record) -> tuple[str, LatestValue] | None:
    """Return a record's key and its update, or None for records that Redis does not hold."""
    if type(record) is Bar:
        return f"latest:bar:{record.symbol}", LatestValue(record.ts_ns, "updates:bars", record)
    if type(record) is Position:
        return f"latest:position:{record.symbol}", LatestValue(record.seq, "updates:positions", record)
    if type(record) is Valuation:
        return "latest:valuation", LatestValue(record.seq, "updates:valuations", record)
    return None


def record_json(record: Record) -> str:
    """Return a record as the JSON stored in Redis.

    >>> record_json(Valuation(1, 60, *[Decimal("1.50")] * 7, 2))[:44]
    '{"seq":1,"ts_ns":60,"equity":"1.50","cash":"'
    """
    return json.dumps(record._asdict(), default=_decimal_text, separators=(",", ":"))


def _decimal_text(value: Any) -> str:
    assert isinstance(value, Decimal), f"a record for Redis holds a {type(value).__name__}, expected a Decimal"
    return f"{value:f}"


class LatestWriter:
    """Queues updates without blocking and writes them in a separate thread.

    Only the newest update of a key is pending. `superseded` counts updates that a newer one replaced before they were
    written; `dropped` counts updates that exceeded `PENDING_MAX`.
    """

    def __init__(self, redis_url: str, *, timeout_s: float = 2.0) -> None:
        self._redis_url = redis_url
        self._timeout_s = timeout_s
        self._pending: dict[str, LatestValue] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._sending = False
        self.superseded = 0
        self.dropped = 0
        self.disconnected = False
        self._thread = BackgroundThread("redis-latest", self._run).start()

    def put(self, records: Sequence[Record]) -> None:
        """Queue the changes of these records. Never waits for Redis or raises its errors."""
        updates = [keyed_update for record in records if (keyed_update := latest_value_of(record)) is not None]
        if not updates:
            return
        with self._changed:
            for key, update in updates:
                self._queue_update(key, update)
            self._changed.notify()

    def flush(self, timeout_s: float) -> bool:
        """Wait until every update is written. Return False if that takes longer than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending and not self._sending, timeout_s)

    def close(self) -> None:
        """Flush for at most `CLOSE_WAIT_S`, then stop the thread."""
        self.flush(CLOSE_WAIT_S)
        self._thread.request_stop()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(self._timeout_s + CLOSE_WAIT_S)

    def _queue_update(self, key: str, update: LatestValue) -> None:
        queued = self._pending.get(key)
        if queued is not None:
            self.superseded += 1
            if queued.fence >= update.fence:
                return
        elif len(self._pending) >= PENDING_MAX:
            self.dropped += 1
            return
        self._pending[key] = update

    def _run(self) -> None:
        """Write pending updates in a loop; after an error, queue them again and pause."""
        client = redis.Redis.from_url(
            self._redis_url, socket_timeout=self._timeout_s, socket_connect_timeout=self._timeout_s
        )
        pause, pause_max = RETRY_PAUSE_S
        with contextlib.closing(client):
            while (batch := self._drain_pending()) is not None:
                try:
                    self._send(client, batch)
                except redis.RedisError as error:
                    self._put_back(batch)
                    self._log_connection(error)
                    with self._changed:
                        if self._changed.wait_for(lambda: self._closing, pause):
                            return
                    pause = min(2 * pause, pause_max)
                else:
                    self._log_connection(None)
                    self._note_sent()
                    pause = RETRY_PAUSE_S[0]

    def _drain_pending(self) -> dict[str, LatestValue] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._pending)
            if self._closing:
                return None
            batch, self._pending = self._pending, {}
            self._sending = True
            return batch

    def _put_back(self, batch: dict[str, LatestValue]) -> None:
        with self._changed:
            newer, self._pending = self._pending, batch
            for key, update in newer.items():
                self._queue_update(key, update)
            self._sending = False

    def _note_sent(self) -> None:
        with self._changed:
            self._sending = False
            self._changed.notify_all()

    @staticmethod
    def _send(client: redis.Redis, batch: dict[str, LatestValue]) -> None:
        replace = client.register_script(_REPLACE)
        # No transaction is needed: keys are independent, and resending a partly sent batch changes nothing.
        with client.pipeline(transaction=False) as pipeline:
            for key, update in batch.items():
                fence, body = f"{update.fence:020d}", record_json(update.record)
                replace(keys=[key, f"{key}:fence"], args=[fence, body, update.channel], client=pipeline)
            pipeline.execute()

    def _log_connection(self, error: redis.RedisError | None) -> None:
        if error is not None and not self.disconnected:
            log.warning("redis unavailable, trading continues", error=str(error).splitlines()[0])
        elif error is None and self.disconnected:
            log.warning("redis available again", superseded=self.superseded, dropped=self.dropped)
        self.disconnected = error is not None


class RedisSinkPartition(StatefulSinkPartition[Sequence[TimeSlice], None]):
    """One partition of the sink. Redis errors do not affect the flow."""

    def __init__(self, writer: LatestWriter) -> None:
        self.writer = writer

    def write_batch(self, values: list[Sequence[TimeSlice]]) -> None:
        self.writer.put(
            [record for time_slices in values for time_slice in time_slices for record in time_slice.records]
        )

    def snapshot(self) -> None:
        """No state: Redis can be emptied at any time."""

    def close(self) -> None:
        self.writer.close()


class RedisLatestSink(FixedPartitionedSink[Sequence[TimeSlice], None]):
    """Bytewax sink of items `(key, time slices)` that writes the newest bar, position and valuation to Redis."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url

    def list_parts(self) -> list[str]:
        return ["0"]

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> RedisSinkPartition:
        return RedisSinkPartition(LatestWriter(self._redis_url))
