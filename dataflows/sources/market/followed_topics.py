"""Follow the topics whose records require a time slice: a thread that reads each of them from its present end."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from configs.settings import KafkaSection
from dataflows.runtime.topology import SERVICES, partitions_of
from dataflows.sources.market.waiting_records import WaitingRecords
from schemas.codec import DEFAULT_CODEC, SCHEMA_IDS
from schemas.errors import Unavailable, Undecodable
from schemas.records import (
    TOPIC_OF,
    Clock,
    InternalCross,
    Order,
    OrderCancel,
    OrderRefusal,
    RiskEvent,
    RiskFence,
    StageTimer,
    StrategySuspension,
    TargetReduction,
)
from sinks.background_thread import BackgroundThread
from sinks.cluster import client_config
from sinks.kafka_errors import is_denied, topic_error
from sinks.log_offsets import log_range

CLOCKED_TOPICS = SERVICES["market_data"].outputs
TIMERS = TOPIC_OF[StageTimer]
TIMERS_READ_MAX = 1000
"""Number of timer records that are read at a start. They almost always include the newest one of each service."""
POLL_S, MESSAGES_MAX = 0.5, 1000
HEADER_BYTES = 5
RISK_CLOCK_TOPIC = "orders"
DECISIONS: dict[str, tuple[type, ...]] = {
    "orders": (Order, OrderCancel, RiskFence),
    "order-refusals": (OrderRefusal,),
    "order-proposals": (TargetReduction, InternalCross),
    "risk-events": (RiskEvent,),
    "strategy-suspensions": (StrategySuspension,),
}
"""Records that take effect in the time slice after their own. An `OrderProposal` does not count: an order or a
rejection follows it in its own time slice."""


def _header(record_type: type) -> bytes:
    return b"\0" + SCHEMA_IDS[record_type].to_bytes(4, "big")


_CLOCK_HEADER = _header(Clock)
_DECISION_HEADERS = {topic: frozenset(map(_header, types)) for topic, types in DECISIONS.items()}


class FollowedTopics:
    """Reports the records and clocks of the topics that `market_data` follows to `waiting`."""

    def __init__(self, kafka: KafkaSection, waiting: WaitingRecords, *, timeout_s: float = 60.0) -> None:
        self._kafka, self._waiting, self._timeout_s = kafka, waiting, timeout_s
        self._topics = {kafka.topic_prefix + topic: topic for topic in SERVICES["market_data"].follows}
        self._logs = [
            (name, partition)
            for name, topic in self._topics.items()
            for partition in partitions_of(topic, kafka.symbol_partitions)
        ]
        self._positioned = threading.Event()
        self._error: str | None = None
        self._thread = BackgroundThread("followed topics", self._run)

    def start(self) -> None:
        """Return when the positions are fixed: every later record is reported. Raises Unavailable."""
        self._thread.start()
        deadline = time.monotonic() + self._timeout_s
        while not self._positioned.wait(POLL_S):
            self.raise_if_failed()
            if time.monotonic() > deadline:
                raise Unavailable(f"the ends of the followed topics were not found within {self._timeout_s:.0f} s")

    def stop(self) -> None:
        self._thread.request_stop()

    def raise_if_failed(self) -> None:
        """Raise Unavailable if a topic cannot be read, for example because the principal lacks the right."""
        if self._error is not None:
            raise Unavailable(self._error)

    def _run(self) -> None:
        options = {
            "group.id": "none",
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "allow.auto.create.topics": False,
            "reconnect.backoff.max.ms": 1000,
            "socket.nagle.disable": True,
            "log_level": 0,
        }
        with closing(Consumer(client_config(self._kafka.cluster, options))) as consumer:
            consumer.assign(
                [
                    TopicPartition(name, partition, self._start(consumer, name, partition))
                    for name, partition in self._logs
                ]
            )
            # After a death of this thread, records may have passed unseen.
            self._waiting.start()
            self._positioned.set()
            while not self._thread.stop_requested.is_set():
                first = consumer.poll(POLL_S)
                if first is not None:
                    for message in (first, *consumer.consume(MESSAGES_MAX, 0)):
                        self._add(message)

    def _start(self, consumer: Consumer, name: str, partition: int) -> int:
        """Return the present end of a log, and for the timers the position of the last ones."""
        try:
            low, end = log_range(consumer, name, partition, timeout_s=self._timeout_s)
            return max(low, end - TIMERS_READ_MAX) if self._topics[name] == TIMERS else end
        except KafkaException as error:
            reason = topic_error(self._kafka.cluster, error.args[0], "READ", name)
            if is_denied(error.args[0]):
                self._error = reason
            raise Unavailable(reason) from error

    def _add(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if is_denied(error):
                self._error = topic_error(self._kafka.cluster, error, "READ", message.topic())
            return
        topic, value = self._topics[message.topic() or ""], message.value() or b""
        header = value[:HEADER_BYTES]
        is_clock = header == _CLOCK_HEADER
        if topic in CLOCKED_TOPICS:
            report = self._waiting.add_clock if is_clock else self._waiting.add_record
            report(topic)
            return
        is_risk_clock = is_clock and topic == RISK_CLOCK_TOPIC
        if not (is_risk_clock or topic == TIMERS or header in _DECISION_HEADERS[topic]):
            return
        try:
            record = DEFAULT_CODEC.decode(value)
        except Undecodable:
            return  # its reader creates the dead letter
        if is_risk_clock:
            self._waiting.add_risk_clock(record.ts_ns)
        elif topic == TIMERS:
            self._waiting.add_timer(record.service, record.due_ns)
        else:
            self._waiting.add_decision(topic, record.ts_ns)
