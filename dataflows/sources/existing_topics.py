"""Look up topics before a service starts: whether they exist, and whether they hold messages."""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException

from schemas.errors import Unavailable
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
    client_errors = KafkaErrorListener()
    consumer = Consumer(client_config(servers, client_errors.options({"group.id": "platform-start", "log_level": 0})))
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            existing = client_errors.metadata(consumer, timeout_s).topics
            missing = [topic for topic in topics if topic not in existing]
            if not missing:
                return
            if time.monotonic() > deadline:
                for topic in missing:
                    # The list of topics omits those that the principal may not see.
                    error = consumer.list_topics(topic, timeout=timeout_s).topics[topic].error
                    if error is not None and is_denied(error):
                        raise Unavailable(topic_error(servers, error, "DESCRIBE", topic))
                raise Unavailable(
                    f"topics {', '.join(missing)} do not exist at {servers}; create them with `python cli.py start`"
                )
            time.sleep(0.2)
    except KafkaException as error:
        raise Unavailable(f"Kafka at {servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()
