"""Look up topics before a service starts: whether they exist, and whether they hold messages."""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import Unavailable
from sinks.admin_operations import partition_counts
from sinks.cluster import Servers, client_config
from sinks.kafka_errors import KafkaErrorListener, is_denied, topic_error
from sinks.log_offsets import log_range


def first_topic_with_messages(servers: Servers, prefix: str, logs: Sequence[tuple[str, int]]) -> str | None:
    """Return the first topic, without the prefix, whose log has or had a message; None if all logs are new.

    Raises Unavailable if the cluster does not respond.
    """
    consumer = Consumer(client_config(servers, {"group.id": f"{prefix}platform-start", "log_level": 0}))
    try:
        for topic, partition in logs:
            _, end = log_range(consumer, prefix + topic, partition, timeout_s=10)
            if end > 0:
                return topic
        return None
    except KafkaException as error:
        raise Unavailable(f"Kafka at {servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def wait_for_topics(servers: Servers, topics: Sequence[str], timeout_s: float = 30.0) -> None:
    """Return when all topics exist.

    Raises Unavailable, naming the missing topics, after `timeout_s`, or if the cluster does not respond.
    """
    kafka_errors = KafkaErrorListener()
    admin = AdminClient(client_config(servers, kafka_errors.options({"log_level": 0})))
    deadline = time.monotonic() + timeout_s
    while True:
        missing = list(topics)
        try:
            existing = kafka_errors.call(admin, lambda: partition_counts(admin, topics, timeout_s))
            missing = [topic for topic in topics if topic not in existing]
            if not missing:
                return
        except KafkaException as error:
            if not is_denied(error.args[0]):
                raise Unavailable(f"Kafka at {servers}: {error.args[0].str()}") from error
        if time.monotonic() > deadline:
            _require_rights(admin, servers, topics, timeout_s)
            raise Unavailable(
                f"topics {', '.join(missing)} do not exist at {servers}; create them with `python cli.py start`"
            )
        time.sleep(0.2)


def _require_rights(admin: AdminClient, servers: Servers, topics: Sequence[str], timeout_s: float) -> None:
    """Raises Unavailable, naming the first topic that the principal may not see."""
    for topic in topics:
        try:
            partition_counts(admin, [topic], timeout_s)
        except KafkaException as error:
            raise Unavailable(topic_error(servers, error.args[0], "DESCRIBE", topic)) from error
