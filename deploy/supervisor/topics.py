"""Create the topics of `configs/kafka_topics.yaml`, and check the partition counts of existing topics."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from configs.yaml_text import parse_yaml
from deploy.errors import DeployError
from deploy.home import REPOSITORY
from sinks.admin_operations import ADMIN_TIMEOUT_S, admin_result, partition_counts
from sinks.cluster import Servers, client_config
from sinks.kafka_errors import KafkaErrorListener
from sinks.log_offsets import wait_for_leaders

TOPICS_FILE = REPOSITORY / "configs" / "kafka_topics.yaml"
_DAY_MS = 86_400_000
_CLEANUP_POLICIES = ("delete", "compact", "compact,delete")


@dataclass(frozen=True)
class TopicSpec:
    """Settings of one topic on the broker."""

    name: str
    partitions: int
    cleanup: str = "delete"
    retention_days: int = 3650

    def settings(self) -> dict[str, str]:
        return {"cleanup.policy": self.cleanup, "retention.ms": str(self.retention_days * _DAY_MS)}


def platform_topics(prefix: str) -> list[TopicSpec]:
    """Return the declared topics with the names that they have in Kafka (`prefix`: `kafka.topic_prefix`)."""
    return [replace(topic, name=prefix + topic.name) for topic in read_topics()]


def read_topics(path: Path = TOPICS_FILE) -> list[TopicSpec]:
    """Read the declared topics; `partitions: symbols` is `symbol_partitions`. Raises DeployError if one is invalid."""
    tree = parse_yaml(path.read_text())
    symbol_partitions = tree.get("symbol_partitions")
    topics = []
    for name, entry in tree["topics"].items():
        partitions = symbol_partitions if entry["partitions"] == "symbols" else entry["partitions"]
        cleanup = str(entry.get("cleanup", TopicSpec.cleanup))
        if not isinstance(partitions, int) or partitions < 1:
            raise DeployError(
                f"{path.name}: topic {name}: partitions must be >= 1 or `symbol_partitions`, found {partitions!r}"
            )
        if cleanup not in _CLEANUP_POLICIES:
            raise DeployError(
                f"{path.name}: topic {name}: cleanup must be one of {_CLEANUP_POLICIES}, found {cleanup!r}"
            )
        topics.append(TopicSpec(name, partitions, cleanup, int(entry.get("retention_days", TopicSpec.retention_days))))
    return topics


def create_topics(
    bootstrap: Servers, topics: list[TopicSpec], *, replication: int = 1, timeout_s: float = ADMIN_TIMEOUT_S
) -> list[str]:
    """Create the missing topics, wait until they can be read and written, and return their names.

    Raises DeployError if an existing topic has another number of partitions: its symbols would be in other shards than
    their earlier records.
    """
    kafka_errors = KafkaErrorListener()
    admin = AdminClient(client_config(bootstrap, kafka_errors.options({"log_level": 0})))
    try:
        names = [topic.name for topic in topics]
        existing = kafka_errors.call(admin, lambda: partition_counts(admin, names, timeout_s))
        new = [
            NewTopic(topic.name, topic.partitions, replication, config=topic.settings())
            for topic in topics
            if topic.name not in existing
        ]
        created = []
        timeouts = {"operation_timeout": timeout_s, "request_timeout": timeout_s}
        # The client refuses an empty list.
        for name, future in (admin.create_topics(new, **timeouts) if new else {}).items():
            try:
                admin_result(future, timeout_s)
                created.append(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise DeployError(f"cannot create topic {name}: {error.args[0].str()}") from error
        counts = _wait_for_topics(admin, names, timeout_s)
        wait_for_leaders(admin, {name: counts[name] for name in created}, timeout_s=timeout_s)
    except KafkaException as error:
        raise DeployError(f"cannot create topics on {bootstrap}: {error.args[0].str()}") from error
    for topic in topics:
        if (count := counts[topic.name]) != topic.partitions:
            raise DeployError(
                f"topic {topic.name} has {count} partitions, expected {topic.partitions} (kafka_topics.yaml)"
            )
    return created


def _wait_for_topics(admin: AdminClient, names: list[str], timeout_s: float) -> dict[str, int]:
    """Return the number of partitions of each topic. A broker lists a new topic some time after its creation."""
    deadline = time.monotonic() + timeout_s
    while True:
        counts = partition_counts(admin, names, timeout_s)
        missing = [name for name in names if name not in counts]
        if not missing:
            return counts
        if time.monotonic() > deadline:
            raise DeployError(f"the broker does not list topic {missing[0]} within {timeout_s:.0f} s")
        time.sleep(0.1)


def missing_topics(bootstrap: Servers, names: list[str], *, timeout_s: float = 10.0) -> list[str]:
    """Return the topics that do not exist. Raises DeployError if the broker does not respond."""
    try:
        kafka_errors = KafkaErrorListener()
        admin = AdminClient(client_config(bootstrap, kafka_errors.options({"log_level": 0})))
        existing = kafka_errors.call(admin, lambda: partition_counts(admin, names, timeout_s))
    except KafkaException as error:
        raise DeployError(f"cannot list the topics of {bootstrap}: {error.args[0].str()}") from error
    return [name for name in names if name not in existing]
