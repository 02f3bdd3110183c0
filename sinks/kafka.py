"""The one Kafka sink: each tick's records to their topics, and behind them the clock.

At least once: the sink's snapshot waits until the broker has everything, so the recovery frontier cannot pass a lost
message; readers drop repeats by `seq` (`operators/alignment.py`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import KafkaError, Message, Producer

from operators.partitions import partition_of
from operators.stage import Tick
from schemas.codec import DEFAULT, Codec
from schemas.errors import Unavailable
from schemas.records import BY_SYMBOL, TOPIC_OF, Clock, Record
from sinks.cluster import Servers, client

DELIVERY_TIMEOUT_S = 120.0
FLUSH_SLICE_S = 1.0
PRODUCER_ID_WAIT_S = 2.0

Written = Callable[[int], None]
"""Told how many records were handed to the broker."""
Noted = Callable[[Record], None]
"""Told each record of the types that are noted."""


class _Part(StatefulSinkPartition[list[Tick], None]):
    def __init__(self, sink: KafkaTickSink, producer: Producer, clocked: Sequence[tuple[str, int]]) -> None:
        self._producer, self._clocked, self._sink = producer, clocked, sink
        self._error: KafkaError | None = None

    def write_batch(self, values: list[list[Tick]]) -> None:
        self._raise_if_failed()
        encode, partitions, topics = self._sink.codec.encode, self._sink.partitions, self._sink.topics
        noted, note = self._sink.noted, self._sink.note
        written = 0
        for ticks in values:
            for tick in ticks:
                for record in tick.records:
                    record_type = type(record)
                    topic = topics.get(record_type)
                    if topic is None:
                        continue
                    partition, key = 0, None
                    if record_type in BY_SYMBOL:
                        key = record.symbol  # type: ignore[union-attr]
                        partition = partition_of(key, partitions)
                    self._produce(topic, partition, encode(record), key)
                    written += 1
                    if record_type in noted:
                        note(record)
                clock = encode(Clock(tick.ts_ns, self._sink.writer))
                for topic, partition in self._clocked:
                    self._produce(self._sink.prefix + topic, partition, clock, None)
        self._producer.poll(0)
        self._sink.written(written)

    def _produce(self, topic: str, partition: int, value: bytes, key: str | None) -> None:
        deadline = 0.0
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=self._on_delivery)
                return
            except BufferError:
                # The broker is slow or away: wait here, which holds the dataflow, rather than lose a record.
                deadline = deadline or time.monotonic() + DELIVERY_TIMEOUT_S
                if time.monotonic() > deadline:
                    raise Unavailable(f"topic {topic}: broker took nothing for {DELIVERY_TIMEOUT_S:.0f} s") from None
                self._producer.poll(0.05)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._error is None:
            self._error = error

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise Unavailable(f"a record was not delivered: {self._error.str()}")

    def snapshot(self) -> None:
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S
        while self._producer.flush(FLUSH_SLICE_S):
            self._raise_if_failed()
            if time.monotonic() > deadline:
                raise Unavailable(f"broker acknowledged nothing for {DELIVERY_TIMEOUT_S:.0f} s")
        self._raise_if_failed()

    def close(self) -> None:
        self.snapshot()


class KafkaTickSink(FixedPartitionedSink[list[Tick], None]):
    """Items are `(shard, [Tick, ...])`; one part a shard.

    `topics` are those this service owns: records of others pass by unwritten. `clocked` gives for each shard the
    (topic, partition) logs that it writes the clock into; `writer` is the clock's "<service>@<version>". `prefix` goes
    before every topic's name. `note` is called with each record of a type in `noted`, for a log. Records of the types
    in `passing` came out of the topics and go on to other sinks: writing them again would never end.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        writer: str,
        topics: Sequence[str],
        clocked: Mapping[str, Sequence[tuple[str, int]]],
        partitions: int,
        prefix: str = "",
        codec: Codec = DEFAULT,
        written: Written = lambda count: None,
        noted: Collection[type] = (),
        note: Noted = lambda record: None,
        passing: Collection[type] = (),
    ) -> None:
        self.writer, self.partitions, self.codec, self.written = writer, partitions, codec, written
        self.prefix = prefix
        self.noted, self.note = frozenset(noted), note
        self.topics = {
            kind: prefix + topic for kind, topic in TOPIC_OF.items() if topic in topics and kind not in passing
        }
        self._servers, self._clocked = servers, clocked
        self._producer: Producer | None = None
        self._lock = threading.Lock()

    def list_parts(self) -> list[str]:
        return list(self._clocked)

    def part_fn(self, item_key: str) -> int:
        return sorted(self._clocked).index(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Part:
        with self._lock:
            if self._producer is None:
                wait_for_producer_ids(self._servers)
                self._producer = producer(self._servers)
        return _Part(self, self._producer, self._clocked[for_part])


def wait_for_producer_ids(servers: Servers, timeout_s: float = DELIVERY_TIMEOUT_S) -> None:
    """Return once the broker gives out producer ids, which every idempotent producer needs before its first message.

    A broker that has just started answers the first request with COORDINATOR_LOAD_IN_PROGRESS, after which librdkafka
    2.16 at times does not ask again: all that it is given then waits in vain. So producers of no use ask until one is
    answered; those that come after it get their ids at once. Raises Unavailable.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        states: list[str] = []
        options: dict[str, Any] = {
            "enable.idempotence": True,
            "statistics.interval.ms": 20,
            "stats_cb": lambda text, found=states: found.append(json.loads(text)["eos"]["idemp_state"]),
            "log_level": 0,
        }
        probe = Producer(client(servers, options))
        asked = time.monotonic()
        while time.monotonic() < asked + PRODUCER_ID_WAIT_S:
            probe.poll(0.02)
            if states and states[-1] == "Assigned":
                return
    raise Unavailable(f"Kafka at {servers} gave no producer id for {timeout_s:.0f} s")


def producer(servers: Servers) -> Producer:
    """A producer that loses nothing it was given and keeps order: idempotent, all acks, no lingering."""
    options = {
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        "socket.nagle.disable": True,
        "message.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
        "reconnect.backoff.max.ms": 1000,
        "queue.buffering.max.messages": 200_000,
    }
    return Producer(client(servers, options))
