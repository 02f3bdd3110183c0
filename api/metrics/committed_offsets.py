"""The offsets that the dataflows commit for monitoring."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from configs.settings import KafkaSection
from schemas.log_names import LogName
from sinks.cluster import client_config


class CommittedOffsets:
    """Read the committed offsets of each reader's group, with one consumer a group that never joins it.

    `AdminClient.list_consumer_group_offsets` would need one client only, but librdkafka ends the process with SIGSEGV
    when it asks a broker that does not coordinate the group yet (librdkafka issue 5040).
    """

    def __init__(self, kafka: KafkaSection) -> None:
        self._kafka = kafka
        self._consumers: dict[str, Consumer] = {}
        self._failed: set[str] = set()  # readers that did not respond last time

    def read(self, logs: Mapping[str, Iterable[LogName]], *, timeout_s: float) -> dict[str, dict[LogName, int]]:
        """Return the committed offset of each log by reader, without logs for which a reader never committed.

        `logs` has the logs of each reader. Omits readers whose group has no coordinator within `timeout_s` seconds, for
        all of them together. Those that did not respond last time are last, so that they do not hide the others.
        """
        deadline, prefix = time.monotonic() + timeout_s, self._kafka.topic_prefix
        committed: dict[str, dict[LogName, int]] = {}
        for reader in sorted(logs, key=self._failed.__contains__):
            requested = [TopicPartition(prefix + topic, partition) for topic, partition in logs[reader]]
            remaining_s = deadline - time.monotonic()
            if not requested or remaining_s <= 0:
                continue
            try:
                positions = self._consumer(reader).committed(requested, timeout=remaining_s)
            except KafkaException:
                self._failed.add(reader)
                continue
            self._failed.discard(reader)
            committed[reader] = {
                (position.topic.removeprefix(prefix), position.partition): position.offset
                for position in positions
                if position.error is None and position.offset >= 0
            }
        return committed

    def _consumer(self, reader: str) -> Consumer:
        if reader not in self._consumers:
            group = {"group.id": f"{self._kafka.topic_prefix}platform-{reader}", "enable.auto.commit": False}
            self._consumers[reader] = Consumer(client_config(self._kafka.cluster, {**group, "log_level": 0}))
        return self._consumers[reader]
