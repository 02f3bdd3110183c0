"""The identity of a platform's state, recorded in the state folder, the database and the topics alike.

The identity shows that recovery stores, tables and topics belong together. `platform_id` is created once, at the first
initialization. `epoch` rises by one at each restore, so that a part from before a restore is recognized. The other
fields may not change while there is state, because the state depends on them.

| place | where |
|---|---|
| folder | `recovery/identity.json` in the state folder |
| database | table `platform_identity`, one row |
| topics | topic `platform-identity`, one compacted partition, the newest message with the key `identity` |
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.state import replace_file
from sinks.cluster import Servers, client_config
from sinks.kafka_errors import KafkaErrorListener

if TYPE_CHECKING:
    from configs.settings import Settings

TOPIC = "platform-identity"
_KEY = b"identity"
_KAFKA_TIMEOUT_S = 30.0
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
CHANGEABLE_FIELDS = frozenset({"cluster_id"})
"""A restore into another Kafka changes them; the other fields stay for the life of the state."""


@dataclass(frozen=True)
class PlatformIdentity:
    """What a platform's state belongs to and depends on.

    `broker` is `simulated`, `local-alpaca`, `alpaca-paper` or `alpaca-live`; `feed` is `simulator`, `files` or `live`.
    `cluster_id` is Kafka's id of the cluster that holds the topics. `substitute` marks the state of a run on the
    in-memory broker, whose topics are lost. `created_at` is an ISO 8601 time in UTC.
    """

    platform_id: str
    epoch: int
    broker: str
    feed: str
    symbol_partitions: int
    cluster_id: str
    topic_prefix: str
    created_at: str
    substitute: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes, place: str) -> PlatformIdentity:
        """Raises DeployError, naming the place, if the text is not an identity."""
        try:
            tree = json.loads(text)
            return PlatformIdentity(**{name: tree[name] for name in _FIELD_NAMES if name in tree})
        except (ValueError, TypeError, KeyError) as error:
            raise DeployError(f"{place} does not hold a platform identity: {error}") from error


_FIELD_NAMES = tuple(field.name for field in fields(PlatformIdentity))


class RecordedIdentities(NamedTuple):
    """The identity that each place holds; None where there is none."""

    folder: PlatformIdentity | None
    database: PlatformIdentity | None
    topics: PlatformIdentity | None

    def present(self) -> dict[str, PlatformIdentity]:
        return {name: identity for name, identity in self._asdict().items() if identity is not None}

    def missing(self) -> list[str]:
        return [name for name, identity in self._asdict().items() if identity is None]


def configured_identity(settings: Settings, cluster_id: str, *, substitute: bool = False) -> PlatformIdentity:
    """Return a new identity, of epoch 1, for a platform with these settings."""
    return PlatformIdentity(
        platform_id=str(uuid.uuid4()),
        epoch=1,
        broker=broker_kind(settings),
        feed=feed_kind(settings),
        symbol_partitions=settings.kafka.symbol_partitions,
        cluster_id=cluster_id,
        topic_prefix=settings.kafka.topic_prefix,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        substitute=substitute,
    )


def restored_identity(identity: PlatformIdentity, cluster_id: str) -> PlatformIdentity:
    """Return the identity after a restore into this Kafka: the same platform, one epoch later."""
    return replace(identity, epoch=identity.epoch + 1, cluster_id=cluster_id)


def broker_kind(settings: Settings) -> str:
    """Return what the orders go to: `simulated`, `local-alpaca`, `alpaca-paper` or `alpaca-live`."""
    if settings.execution.broker == "simulated":
        return "simulated"
    if settings.alpaca.url is not None and urlsplit(str(settings.alpaca.url)).hostname in _LOOPBACK_HOSTS:
        return "local-alpaca"
    return f"alpaca-{settings.execution.mode}"


def feed_kind(settings: Settings) -> str:
    """Return `simulator`, `files` or `live`. All live providers are one kind: the feed switches between them."""
    return "live" if settings.market_data.live_providers() else settings.market_data.feed


# -- all three places --------------------------------------------------------------------------------------------------


def read_identities(home: Home, settings: Settings) -> RecordedIdentities:
    """Read all three places. Raises DeployError if one cannot be read or does not hold an identity."""
    return RecordedIdentities(
        folder=read_folder_identity(home),
        database=read_database_identity(settings.database.postgres.url),
        topics=read_topic_identity(settings.kafka.cluster, settings.kafka.topic_prefix),
    )


def write_identities(home: Home, settings: Settings, identity: PlatformIdentity) -> None:
    """Write the identity to all three places: topics, then database, then folder. Raises DeployError.

    After an interruption the places differ, and `start` refuses until the write is repeated.
    """
    write_topic_identity(settings.kafka.cluster, identity, replication=settings.kafka.replication)
    write_database_identity(settings.database.postgres.url, identity)
    write_folder_identity(home, identity)


# -- the state folder --------------------------------------------------------------------------------------------------


def read_folder_identity(home: Home) -> PlatformIdentity | None:
    path = home.recovery / "identity.json"
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return PlatformIdentity.from_json(text, str(path))


def write_folder_identity(home: Home, identity: PlatformIdentity) -> None:
    home.recovery.mkdir(parents=True, exist_ok=True)
    replace_file(home.recovery / "identity.json", identity.to_json())


# -- the database ------------------------------------------------------------------------------------------------------


def read_database_identity(database_url: str) -> PlatformIdentity | None:
    """Return the identity in table `platform_identity`; None without a row or, before the migration, a table."""
    import psycopg2
    from psycopg2 import sql

    from sinks.database import libpq_url

    query = sql.SQL("SELECT {} FROM platform_identity").format(sql.SQL(", ").join(map(sql.Identifier, _FIELD_NAMES)))
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT to_regclass('platform_identity') IS NOT NULL")
            exists = cursor.fetchone()
            if exists is None or not exists[0]:
                return None
            cursor.execute(query)
            row = cursor.fetchone()
    except psycopg2.Error as error:
        raise DeployError(f"cannot read table platform_identity: {_first_line(error)}") from error
    if row is None:
        return None
    values: dict[str, Any] = dict(zip(_FIELD_NAMES, row, strict=True))
    return PlatformIdentity(**values)


def write_database_identity(database_url: str, identity: PlatformIdentity) -> None:
    """Replace the row of table `platform_identity`, which must exist. Raises DeployError."""
    import psycopg2
    from psycopg2 import sql

    from sinks.database import libpq_url

    names = [sql.Identifier(name) for name in _FIELD_NAMES]
    statement = sql.SQL(
        "INSERT INTO platform_identity (singleton, {}) VALUES (true, {}) ON CONFLICT (singleton) DO UPDATE SET {}"
    ).format(
        sql.SQL(", ").join(names),
        sql.SQL(", ").join(map(sql.Placeholder, _FIELD_NAMES)),
        sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(name) for name in names),
    )
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as connection, connection:
            connection.cursor().execute(statement, asdict(identity))
    except psycopg2.Error as error:
        raise DeployError(f"cannot write table platform_identity: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# -- the topics --------------------------------------------------------------------------------------------------------


def read_cluster_id(servers: Servers) -> str:
    """Return Kafka's id of its cluster. Raises DeployError if Kafka does not respond."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    kafka_errors = KafkaErrorListener()
    try:
        admin = AdminClient(client_config(servers, kafka_errors.options({"log_level": 0})))
        return kafka_errors.metadata(admin, _KAFKA_TIMEOUT_S).cluster_id or ""
    except KafkaException as error:
        raise DeployError(f"cannot read the cluster id of Kafka at {servers}: {error.args[0].str()}") from error


def read_topic_identity(servers: Servers, prefix: str) -> PlatformIdentity | None:
    """Return the newest identity in topic `platform-identity`; None if the topic does not exist or is empty."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    from sinks.log_offsets import log_range

    kafka_errors = KafkaErrorListener()
    options = kafka_errors.options({"group.id": f"{prefix}platform-identity", "enable.auto.commit": False})
    topic, value = prefix + TOPIC, None
    try:
        with closing(Consumer(client_config(servers, {**options, "log_level": 0}))) as consumer:
            if topic not in kafka_errors.metadata(consumer, _KAFKA_TIMEOUT_S).topics:
                return None
            partition = TopicPartition(topic, 0)
            low, high = log_range(consumer, topic, 0, timeout_s=_KAFKA_TIMEOUT_S)
            consumer.assign([TopicPartition(topic, 0, low)])
            deadline = time.monotonic() + _KAFKA_TIMEOUT_S
            # Compaction leaves gaps, also before the end, so only the position shows that everything was read.
            while low < high and consumer.position([partition])[0].offset < high:
                message = consumer.poll(0.2)
                if message is not None and message.error() is None and message.key() == _KEY:
                    value = message.value()
                if time.monotonic() > deadline:
                    raise DeployError(f"cannot read topic {topic} at {servers}: no response from the broker")
    except KafkaException as error:
        raise DeployError(f"cannot read topic {topic} at {servers}: {error.args[0].str()}") from error
    return None if value is None else PlatformIdentity.from_json(value, f"topic {topic}")


def write_topic_identity(servers: Servers, identity: PlatformIdentity, *, replication: int = 1) -> None:
    """Create topic `platform-identity` if it does not exist, and append the identity. Raises DeployError."""
    from confluent_kafka import KafkaException

    from deploy.supervisor.topics import TopicSpec, create_topics
    from sinks.kafka import producer, wait_for_producer_ids

    topic = identity.topic_prefix + TOPIC
    create_topics(servers, [TopicSpec(topic, 1, "compact")], replication=replication, timeout_s=_KAFKA_TIMEOUT_S)
    try:
        wait_for_producer_ids(servers)
        failures: list[str] = []
        writer = producer(servers)
        on_delivery: Callable[..., None] = lambda error, _: failures.append(error.str()) if error else None  # noqa: E731
        writer.produce(topic, identity.to_json().encode(), _KEY, 0, on_delivery=on_delivery)
        if writer.flush(_KAFKA_TIMEOUT_S) or failures:
            raise DeployError(f"cannot write topic {topic} at {servers}: {(failures or ['no response'])[0]}")
    except KafkaException as error:
        raise DeployError(f"cannot write topic {topic} at {servers}: {error.args[0].str()}") from error
