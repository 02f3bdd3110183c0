"""Follow the topics whose records require a time slice: a thread that reads each of them from its present end."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from configs.settings import KafkaSection
from dataflows.runtime.topology import SERVICES
from dataflows.sources.market.waiting_records import WaitingRecords
from schemas.codec import DEFAULT_CODEC, SCHEMA_IDS
from schemas.errors import Unavailable, Undecodable
from schemas.records import Clock
from sinks.background_thread import BackgroundThread
from sinks.cluster import client_config
from sinks.kafka_errors import is_denied, topic_error
from sinks.log_offsets import log_range

CLOCKED_TOPICS = SERVICES["market_data"].outputs
POLL_S, MESSAGES_MAX = 0.5, 1000
_CLOCK_HEADER = b"\0" + SCHEMA_IDS[Clock].to_bytes(4, "big")


class FollowedTopics:
    """Reports the records and clocks of the topics that `market_data` follows to `waiting`. Each has one partition."""

    def __init__(self, kafka: KafkaSection, waiting: WaitingRecords, *, timeout_s: float = 60.0) -> None:
        self._kafka, self._waiting, self._timeout_s = kafka, waiting, timeout_s
        self._topics = {kafka.topic_prefix + topic: topic for topic in SERVICES["market_data"].follows}
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
            ends = {name: self._end(consumer, name) for name in self._topics}
            consumer.assign([TopicPartition(name, 0, end) for name, end in ends.items()])
            # After a death of this thread, records may have passed unseen.
            self._waiting.start()
            self._positioned.set()
            while not self._thread.stop_requested.is_set():
                first = consumer.poll(POLL_S)
                if first is not None:
                    for message in (first, *consumer.consume(MESSAGES_MAX, 0)):
                        self._add(message)

    def _end(self, consumer: Consumer, name: str) -> int:
        try:
            return log_range(consumer, name, 0, timeout_s=self._timeout_s)[1]
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
        is_clock = value.startswith(_CLOCK_HEADER)
        if topic in CLOCKED_TOPICS:
            report = self._waiting.add_clock if is_clock else self._waiting.add_record
            report(topic)
            return
        try:
            record = DEFAULT_CODEC.decode(value)
        except Undecodable:
            return  # its reader creates the dead letter
        if is_clock:
            self._waiting.add_risk_clock(record.ts_ns)
        else:
            self._waiting.add_decision(topic, record.ts_ns)
