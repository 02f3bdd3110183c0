"""Where things are kept: PostgreSQL, Redis, and Kafka with its topics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.settings.kafka_security import KafkaSecurity
from configs.settings.sections import Section
from sinks.cluster import Cluster


class PostgresSection(Section):
    """`replica_url`: a copy that follows the database, for the API's queries. `pool_size` connections of the API are
    kept to each, and as many more while they are needed.
    """

    url: str
    replica_url: str | None = None
    pool_size: Annotated[int, Field(ge=1)] = 20
    retry_s: Annotated[float, Field(gt=0)] = 120.0


class RedisSection(Section):
    url: str


class DatabaseSection(Section):
    postgres: PostgresSection
    redis: RedisSection


class TopicEntry(Section):
    """One entry of kafka_topics.yaml. `partitions` is a number, or "symbols": as many as `symbol_partitions`."""

    partitions: int | Literal["symbols"]
    retention_days: int
    owner: str | None
    readers: tuple[str, ...]
    schemas: tuple[str, ...]


class KafkaSection(Section):
    """`topic_prefix` goes before every topic's name, for several platforms on one cluster."""

    bootstrap_servers: str
    security: KafkaSecurity = KafkaSecurity()
    topic_prefix: str = ""
    symbol_partitions: Annotated[int, Field(ge=1)]
    replication: Annotated[int, Field(ge=1)] = 1
    topics: dict[str, TopicEntry]

    @property
    def cluster(self) -> Cluster:
        """For clients: the address with what `security` says."""
        return Cluster(self.bootstrap_servers, self.security.options())
