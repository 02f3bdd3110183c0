"""Wait for operations of Kafka's admin client, such as the deletion of a topic.

The client gives each answer of the broker through a future, whose own time limit raises an empty TimeoutError. These
functions raise KafkaException instead, as all other calls of the client do.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from sinks.cluster import Servers, client_config

ADMIN_TIMEOUT_S = 120.0
"""A broker on a saturated machine takes tens of seconds to create or delete topics."""

_OWN_TIMEOUT_S = 2.0
"""How much later than the client's own time limit a wait ends, so that the client's error is raised, with its cause."""

_T = TypeVar("_T")


def admin_result(future: Future[_T], timeout_s: float = ADMIN_TIMEOUT_S) -> _T:
    """Return the result of an operation. Raises KafkaException if it failed or takes longer than `timeout_s`."""
    try:
        return future.result(timeout_s)
    except TimeoutError:
        error = KafkaError(KafkaError._TIMED_OUT, f"the broker did not respond within {timeout_s:g} s")
        raise KafkaException(error) from None


def partition_counts(admin: AdminClient, names: Collection[str], timeout_s: float = ADMIN_TIMEOUT_S) -> dict[str, int]:
    """Return the number of partitions of each of these topics that exists.

    It requests only these topics: in a cluster with 3,000 topics, a list of all takes 37 ms, and these take 3 ms.
    Raises KafkaException if the broker does not respond, or if the principal may not see a topic.
    """
    counts: dict[str, int] = {}
    if not names:
        return counts  # the client refuses an empty list
    requested = TopicCollection(list(dict.fromkeys(names)))
    for name, future in admin.describe_topics(requested, request_timeout=timeout_s).items():
        try:
            counts[name] = len(admin_result(future, timeout_s + _OWN_TIMEOUT_S).partitions)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    return counts


def delete_topics(servers: Servers, names: Collection[str]) -> None:
    """Delete topics as far as they exist and the broker responds, and wait until they are gone."""
    admin = AdminClient(client_config(servers, {"log_level": 0}))
    for future in admin.delete_topics(list(names), request_timeout=ADMIN_TIMEOUT_S).values():
        with suppress(KafkaException):
            admin_result(future)
    deadline = time.monotonic() + ADMIN_TIMEOUT_S
    with suppress(KafkaException):
        while partition_counts(admin, names) and time.monotonic() < deadline:
            time.sleep(0.2)
