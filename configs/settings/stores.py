"""Settings of PostgreSQL, Redis, and Kafka with its topics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from configs.settings.kafka_security import KafkaSecurity
from configs.settings.sections import Section
from sinks.archive.table_archive import TableArchive
from sinks.archive.topic_archive import TopicArchive
from sinks.cluster import Cluster
from sinks.record_tables import MONTHLY_TABLES

TOPICS_WITH_RETENTION = (
    "market-bars",
    "market-quotes",
    "market-trades",
    "history-bars",
    "features",
    "predictions",
    "signals",
)
"""Topics from which archived days can be deleted in Kafka. All other topics contain records about orders, or are small
and read from their beginning."""


class PostgresSection(Section):
    """PostgreSQL, which stores the books.

    url          address of the database (environment DATABASE_URL)
    replica_url  address of a read replica for the API's queries (environment DATABASE_REPLICA_URL)
    pool_size    [connections] connections that the API keeps open to each server; it opens up to as many more on demand
    retry_s      how long a sink retries while the database is unavailable; then its worker stops
    retention    [days] how many days of a table `archive create` leaves in the database at least, by table; it exports
                 older months to Parquet files. Tables that are not listed stay complete
    """

    url: str
    replica_url: str | None = None
    pool_size: Annotated[int, Field(ge=1)] = 20
    retry_s: Annotated[float, Field(gt=0)] = 120.0
    retention: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)

    @field_validator("retention")
    @classmethod
    def _only_tables_by_month(cls, retention: dict[str, int]) -> dict[str, int]:
        for table in retention:
            if table not in MONTHLY_TABLES:
                raise ValueError(f"table {table!r} must stay complete, expected one of {', '.join(MONTHLY_TABLES)}")
        return retention


class RedisSection(Section):
    """Redis, the cache.

    url  address of the server (environment REDIS_URL)
    """

    url: str


class DatabaseSection(Section):
    """The databases.

    postgres  PostgreSQL
    redis     Redis
    """

    postgres: PostgresSection
    redis: RedisSection


class TopicEntry(Section):
    """One topic of kafka_topics.yaml.

    partitions      [partitions] number of partitions, or `symbols` for `kafka.symbol_partitions`
    retention_days  [days] age above which Kafka deletes the records
    owner           service that writes the topic's clock; unset: the topic has none
    readers         services that read the topic
    schemas         types of the records
    """

    partitions: int | Literal["symbols"]
    retention_days: int
    owner: str | None
    readers: tuple[str, ...]
    schemas: tuple[str, ...]


class KafkaSection(Section):
    """The Kafka cluster and its topics.

    bootstrap_servers         addresses of brokers, HOST:PORT, separated by commas
    security                  TLS and SASL of the connection
    topic_prefix              prefix of every topic name, so that several platforms can share one cluster
    symbol_partitions         [partitions] number of partitions of the topics with `partitions: symbols`; it never
                              changes for existing data
    replication               [copies] replicas of each new topic
    replication_acknowledged  [copies] copies of each topic that live trading requires; unset: two
    archive_folder            folder of the archived topics and tables; unset: `archive` in the state folder
    retention                 [days] how many days of a topic stay in Kafka after `archive create`, by topic; topics
                              that are not listed stay complete
    topics                    the topics, by name
    """

    bootstrap_servers: str
    security: KafkaSecurity = KafkaSecurity()
    topic_prefix: str = ""
    symbol_partitions: Annotated[int, Field(ge=1)]
    replication: Annotated[int, Field(ge=1)] = 1
    replication_acknowledged: Annotated[int, Field(ge=1)] | None = None
    archive_folder: Path | None = None
    retention: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    topics: dict[str, TopicEntry]

    @field_validator("retention")
    @classmethod
    def _only_market_data(cls, retention: dict[str, int]) -> dict[str, int]:
        for topic in retention:
            if topic not in TOPICS_WITH_RETENTION:
                raise ValueError(
                    f"topic {topic!r} must stay complete, expected one of {', '.join(TOPICS_WITH_RETENTION)}"
                )
        return retention

    @property
    def cluster(self) -> Cluster:
        """Return the addresses and security options for Kafka clients."""
        return Cluster(self.bootstrap_servers, self.security.options())

    @property
    def archive(self) -> TopicArchive | None:
        """Return the archive of the topics; None without a state folder."""
        return None if self.archive_folder is None else TopicArchive(self.archive_folder)

    @property
    def table_archive(self) -> TableArchive | None:
        """Return the archive of the tables, which is in the same folder; None without a state folder."""
        return None if self.archive_folder is None else TableArchive(self.archive_folder)
