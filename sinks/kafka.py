"""Kafka sink of every service: each time slice's records to their topics, followed by the clock.

Delivery is at least once. The sink's snapshot waits until the broker has acknowledged everything, so the recovery
frontier never passes a lost message. Readers discard duplicates by `seq` (`operators/alignment.py`).
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
from operators.stage import TimeSlice
from schemas.codec import DEFAULT_CODEC, Codec
from schemas.errors import Unavailable
from schemas.records import TOPIC_OF, Clock, Record, has_symbol
from sinks.cluster import Servers, client_config
from sinks.kafka_errors import topic_error

DELIVERY_TIMEOUT_S = 120.0
FLUSH_SLICE_S = 1.0
PRODUCER_ID_WAIT_S = 2.0

OnWritten = Callable[[int], None]
"""Receives the number of records passed to the producer."""
RecordLogger = Callable[[Record], None]
"""Receives each record of the logged types."""


class _KafkaSinkPartition(StatefulSinkPartition[list[TimeSlice], None]):
    def __init__(self, sink: KafkaSliceSink, producer: Producer, clock_partitions: Sequence[tuple[str, int]]) -> None:
        self._producer, self._clock_partitions, self._sink = producer, clock_partitions, sink
        self._error: str | None = None

    def write_batch(self, values: list[list[TimeSlice]]) -> None:
        self._raise_if_failed()
        encode, partitions, topics = self._sink.codec.encode, self._sink.partitions, self._sink.topics
        logged_types, log_record = self._sink.logged_types, self._sink.log_record
        count = 0
        for time_slices in values:
            for time_slice in time_slices:
                for record in time_slice.records:
                    topic = topics.get(type(record))
                    if topic is None:
                        continue
                    partition, key = 0, None
                    if has_symbol(record):
                        key = record.symbol
                        partition = partition_of(key, partitions)
                    self._produce(topic, partition, encode(record), key)
                    count += 1
                    if type(record) in logged_types:
                        log_record(record)
                clock = encode(Clock(time_slice.ts_ns, self._sink.writer))
                for topic, partition in self._clock_partitions:
                    self._produce(self._sink.prefix + topic, partition, clock, None)
        self._producer.poll(0)
        self._sink.on_written(count)

    def _produce(self, topic: str, partition: int, value: bytes, key: str | None) -> None:
        deadline = 0.0
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=self._on_delivery)
                return
            except BufferError:
                # The broker is slow or down: wait here and block the dataflow rather than lose a record.
                deadline = deadline or time.monotonic() + DELIVERY_TIMEOUT_S
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"topic {topic}: the broker accepted no record for {DELIVERY_TIMEOUT_S:.0f} s"
                    ) from None
                self._producer.poll(0.05)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._error is None:
            self._error = topic_error(self._sink.servers, error, "WRITE", message.topic())
        elif error is None and self._sink.delivered is not None:
            offset, topic = message.offset(), (message.topic() or "").removeprefix(self._sink.prefix)
            if offset is not None and offset >= 0:  # unknown if only a repeated request was acknowledged
                self._sink.delivered[topic, message.partition() or 0] = offset + 1

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise Unavailable(f"a record was not delivered: {self._error}")

    def snapshot(self) -> None:
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S
        while self._producer.flush(FLUSH_SLICE_S):
            self._raise_if_failed()
            if time.monotonic() > deadline:
                raise Unavailable(f"the broker acknowledged nothing for {DELIVERY_TIMEOUT_S:.0f} s")
        self._raise_if_failed()

    def close(self) -> None:
        self.snapshot()


class KafkaSliceSink(FixedPartitionedSink[list[TimeSlice], None]):
    """Items are `(shard, [TimeSlice, ...])`, with one part per shard.

    - `topics`: the topics of this service; records of other topics are not written.
    - `clock_partitions`: for each shard, the (topic, partition) logs that get its clock.
    - `writer`: the clock's "<service>@<version>".
    - `prefix`: precedes every topic name.
    - `log_record`: called with each record of a type in `logged_types`.
    - `pass_through`: record types that were read from these topics and go to other sinks; writing them back would loop.
    - `open_producer`: opens the producer, which other sinks may share; by default the sink opens its own.
    - `delivered`: gets, for each (topic, partition), the offset after the last message that the broker acknowledged.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        writer: str,
        topics: Sequence[str],
        clock_partitions: Mapping[str, Sequence[tuple[str, int]]],
        partitions: int,
        prefix: str = "",
        codec: Codec = DEFAULT_CODEC,
        on_written: OnWritten = lambda count: None,
        logged_types: Collection[type] = (),
        log_record: RecordLogger = lambda record: None,
        pass_through: Collection[type] = (),
        open_producer: Callable[[], Producer] | None = None,
        delivered: dict[tuple[str, int], int] | None = None,
    ) -> None:
        self.writer, self.partitions, self.codec, self.on_written = writer, partitions, codec, on_written
        self.prefix, self.delivered = prefix, delivered
        self.logged_types, self.log_record = frozenset(logged_types), log_record
        self.topics = {
            kind: prefix + topic for kind, topic in TOPIC_OF.items() if topic in topics and kind not in pass_through
        }
        self.servers, self._clock_partitions = servers, clock_partitions
        self._open_producer = open_producer or (lambda: open_slice_producer(servers))
        self._producer: Producer | None = None
        self._lock = threading.Lock()

    def list_parts(self) -> list[str]:
        return list(self._clock_partitions)

    def part_fn(self, item_key: str) -> int:
        return sorted(self._clock_partitions).index(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _KafkaSinkPartition:
        with self._lock:
            if self._producer is None:
                self._producer = self._open_producer()
        return _KafkaSinkPartition(self, self._producer, self._clock_partitions[for_part])


def open_slice_producer(servers: Servers) -> Producer:
    """Return the producer of a slice sink. Raises Unavailable if the broker assigns no producer id."""
    wait_for_producer_ids(servers)
    return producer(servers, no_gaps=True)


def wait_for_producer_ids(servers: Servers, timeout_s: float = DELIVERY_TIMEOUT_S) -> None:
    """Return once the broker assigns producer ids, which every idempotent producer needs before its first message.

    A broker that has just started responds to the first request with COORDINATOR_LOAD_IN_PROGRESS. After that,
    librdkafka 2.16 sometimes does not retry, and all its messages stay pending. Probe producers therefore request an id
    until one gets it; later producers then get their ids at once. Raises Unavailable.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        states: list[str] = []
        options: dict[str, Any] = {
            "enable.idempotence": True,
            "statistics.interval.ms": 20,
            "stats_cb": lambda text, observed=states: observed.append(json.loads(text)["eos"]["idemp_state"]),
            "log_level": 0,
        }
        probe = Producer(client_config(servers, options))
        started = time.monotonic()
        while time.monotonic() < started + PRODUCER_ID_WAIT_S:
            probe.poll(0.02)
            if states and states[-1] == "Assigned":
                return
    raise Unavailable(f"Kafka at {servers} assigned no producer id for {timeout_s:.0f} s")


def producer(servers: Servers, *, no_gaps: bool = False) -> Producer:
    """Return a producer without loss or reordering: idempotent, all acks, no lingering.

    A message that is not delivered within `DELIVERY_TIMEOUT_S` fails. A later one may still be delivered, if the broker
    is back in time. With `no_gaps`, messages have no timeout: a log can lack only its newest messages when the process
    ends. The caller limits its wait, and then ends the process.
    """
    options = {
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        "socket.nagle.disable": True,
        "message.timeout.ms": 0 if no_gaps else int(DELIVERY_TIMEOUT_S * 1000),
        "reconnect.backoff.max.ms": 1000,
        "queue.buffering.max.messages": 200_000,
    }
    return Producer(client_config(servers, options))
