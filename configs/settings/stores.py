"""Settings of PostgreSQL, Redis, and Kafka with its topics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.settings.kafka_security import KafkaSecurity
from configs.settings.sections import Section
from sinks.cluster import Cluster


class PostgresSection(Section):
    """`replica_url` is a read replica for the API's queries. The API keeps `pool_size` connections to each server open,
    and opens up to as many more on demand. A sink retries for `retry_s` seconds while the database is unavailable.
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
    """One entry of kafka_topics.yaml. `partitions` is a number, or "symbols" for `symbol_partitions`."""

    partitions: int | Literal["symbols"]
    retention_days: int
    owner: str | None
    readers: tuple[str, ...]
    schemas: tuple[str, ...]


class KafkaSection(Section):
    """`topic_prefix` is the prefix of every topic name, so that several platforms can share one cluster. Live trading
    requires two copies of every topic, unless `replication_acknowledged` accepts fewer.
    """

    bootstrap_servers: str
    security: KafkaSecurity = KafkaSecurity()
    topic_prefix: str = ""
    symbol_partitions: Annotated[int, Field(ge=1)]
    replication: Annotated[int, Field(ge=1)] = 1
    replication_acknowledged: Annotated[int, Field(ge=1)] | None = None
    topics: dict[str, TopicEntry]

    @property
    def cluster(self) -> Cluster:
        """Return the addresses and security options for Kafka clients."""
        return Cluster(self.bootstrap_servers, self.security.options())
