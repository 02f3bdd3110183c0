"""The newest configuration of a platform: from its table, or from the end of its topic if the table lacks it.

The service `risk` stores a configuration after it has processed its time slice. A newer one is among the few messages
that the service has not processed. The topic is not read from its start, because it contains very many clocks.
"""

from __future__ import annotations

import time
from contextlib import closing

import psycopg2
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from operators.configuration_chain import ConfigurationChain
from schemas.codec import decode
from schemas.errors import Unavailable, Undecodable
from schemas.records import TOPIC_OF, Configuration
from schemas.records.flat import field_names
from sinks.cluster import Servers, client_config
from sinks.database import libpq_url
from sinks.log_offsets import log_range
from sinks.record_tables import record_of

TOPIC = TOPIC_OF[Configuration]
STORED_BY = "risk"
_MARGIN_MESSAGES = 5_000
"""Number of messages before the committed offset that are also read: the offset is committed before the table rows."""
_TIMEOUT_S = 30.0
_READ_TIMEOUT_S = 60.0


def newest_configuration(servers: Servers, prefix: str, database_url: str) -> Configuration | None:
    """Return the newest authentic configuration in the log, None without one. Raises Unavailable.

    If the topics were lost, the content of the table is ignored.
    """
    return next(iter(recent_configurations(servers, prefix, database_url)), None)


def recent_configurations(servers: Servers, prefix: str, database_url: str) -> list[Configuration]:
    """Return the newest configuration in the table and all later authentic ones in the log, newest first.

    Empty without one, also if the topics were lost. Raises Unavailable.
    """
    try:
        with closing(_consumer(servers, prefix)) as consumer:
            low, high = log_range(consumer, prefix + TOPIC, 0, timeout_s=_TIMEOUT_S)
            if high == 0:
                return []
            # The table first: a record that is stored meanwhile is also in the topic after the committed offset.
            start = max(low, _committed(consumer, prefix) - _MARGIN_MESSAGES)
            newest = stored_configuration(database_url)
            recent, chain = [] if newest is None else [newest], ConfigurationChain.after(newest)
            for configuration in _read(consumer, prefix, start, high):
                chain, is_accepted, _ = chain.check(configuration)
                if is_accepted:
                    recent.insert(0, configuration)
            return recent
    except KafkaException as error:
        raise Unavailable(f"topic {prefix}{TOPIC}: {error.args[0].str()}") from error


def stored_configuration(database_url: str, configuration_id: str | None = None) -> Configuration | None:
    """Return the configuration with this id, or the newest one, from its table; None without one. Raises Unavailable.

    Also None if the table does not exist yet.
    """
    condition = "TRUE" if configuration_id is None else "configuration_id = %(id)s"
    return next(iter(_select(database_url, condition, {"id": configuration_id}, limit=1)), None)


def configuration_of_request(servers: Servers, prefix: str, database_url: str, request_id: str) -> Configuration | None:
    """Return the configuration that applied a request, None without one. Raises Unavailable."""
    recent = recent_configurations(servers, prefix, database_url)
    stored = _select(database_url, "request_id = %(id)s", {"id": request_id}, limit=1)
    return next((one for one in [*recent, *stored] if one.request_id == request_id), None)


def stored_configurations(database_url: str, limit: int) -> list[Configuration]:
    """Return the newest configurations in the table, newest first. Raises Unavailable."""
    return _select(database_url, "TRUE", {}, limit=limit)


def _select(database_url: str, condition: str, arguments: dict[str, str | None], *, limit: int) -> list[Configuration]:
    names = field_names(Configuration)
    query = f"SELECT {', '.join(names)} FROM configurations WHERE {condition} ORDER BY number DESC LIMIT {limit}"  # noqa: S608
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as connection:
            cursor = connection.cursor()
            cursor.execute(query, arguments)
            rows = cursor.fetchall()
    except psycopg2.errors.UndefinedTable:
        return []
    except psycopg2.Error as error:
        raise Unavailable(f"cannot read table configurations: {str(error).strip().splitlines()[0]}") from error
    return [record_of(Configuration, dict(zip(names, row, strict=True))) for row in rows]


def _consumer(servers: Servers, prefix: str) -> Consumer:
    options = {"group.id": f"{prefix}platform-{STORED_BY}", "enable.auto.commit": False, "log_level": 0}
    return Consumer(client_config(servers, options))


def _committed(consumer: Consumer, prefix: str) -> int:
    """Return the offset up to which the service that stores configurations has processed the topic, 0 if unknown."""
    try:
        [position] = consumer.committed([TopicPartition(prefix + TOPIC, 0)], timeout=_TIMEOUT_S)
    except KafkaException:
        return 0
    return 0 if position.offset == OFFSET_INVALID or position.error is not None else int(position.offset)


def _read(consumer: Consumer, prefix: str, start: int, end: int) -> list[Configuration]:
    configurations: list[Configuration] = []
    if start >= end:
        return configurations
    consumer.assign([TopicPartition(prefix + TOPIC, 0, start)])
    deadline = time.monotonic() + _READ_TIMEOUT_S
    while start < end:
        messages = consumer.consume(min(1000, end - start), timeout=1)
        if not messages and time.monotonic() > deadline:
            raise Unavailable(f"topic {prefix}{TOPIC}: the end was not reached within {_READ_TIMEOUT_S:.0f} s")
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
            start = (message.offset() or 0) + 1
            try:
                record = decode(message.value())
            except Undecodable:
                continue  # the consumers of the topic create the dead letter
            if type(record) is Configuration:
                configurations.append(record)
    return configurations
