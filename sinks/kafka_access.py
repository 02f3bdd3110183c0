"""Find out whether a Kafka cluster accepts clients without credentials, and how many copies of its topics it stores."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import Unavailable
from sinks.cluster import Cluster, client_config
from sinks.kafka_errors import KafkaErrorListener

_REQUEST_S: Final = 0.5
_REFUSALS = (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._SSL)
_ENCRYPTION_OPTIONS = ("ssl.ca.location", "ssl.endpoint.identification.algorithm")


def topic_replication(cluster: Cluster, *, timeout_s: float = 10.0) -> dict[str, int]:
    """Return the number of copies of each topic, of its least replicated partition. Raises Unavailable."""
    kafka_errors = KafkaErrorListener()
    try:
        admin = AdminClient(client_config(cluster, kafka_errors.options({"log_level": 0})))
        topics = kafka_errors.metadata(admin, timeout_s).topics
    except KafkaException as error:
        raise Unavailable(f"Kafka at {cluster} does not respond: {error.args[0].str()}") from error
    return {
        name: min((len(partition.replicas) for partition in topic.partitions.values()), default=0)
        for name, topic in topics.items()
    }


def anonymous_topics(cluster: Cluster, *, timeout_s: float = 5.0) -> list[str] | None:
    """Return the topics that a client without credentials can see; None if the cluster refuses such a client.

    The cluster must respond to the client of `cluster`. Raises Unavailable if it neither accepts nor refuses the
    anonymous client within `timeout_s`.
    """
    variants: list[dict[str, str]] = [{}]
    if "ssl" in cluster.security.get("security.protocol", "").lower():
        encryption = {name: cluster.security[name] for name in _ENCRYPTION_OPTIONS if name in cluster.security}
        variants.append({"security.protocol": "SSL", **encryption})
    answers = [_topics_seen_by(Cluster(cluster.servers, security), timeout_s) for security in variants]
    seen = [topics for topics in answers if topics is not None]
    return None if not seen else sorted({topic for topics in seen for topic in topics})


def _topics_seen_by(cluster: Cluster, timeout_s: float) -> list[str] | None:
    errors: list[KafkaError] = []
    admin = AdminClient(client_config(cluster, {"log_level": 0, "error_cb": errors.append}))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            return list(admin.list_topics(timeout=_REQUEST_S).topics)
        except KafkaException:
            admin.poll(0)  # delivers pending error callbacks
            # A broker that ends the connection, because this client does not authenticate, counts as down.
            if any(error.code() in _REFUSALS for error in errors):
                return None
    raise Unavailable(f"Kafka at {cluster} neither accepted nor refused a client without credentials")
