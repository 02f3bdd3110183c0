"""Look up offsets of a log (one partition of a topic), also while its leader is being elected.

Right after a topic is created or a broker starts, the cluster already lists the partition, but the broker does not yet
lead it. Kafka calls such errors retriable; `Consumer.get_watermark_offsets` and `Consumer.offsets_for_times` do not
retry them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

_LEADER_ELECTION = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    }
)
"""Errors that end by themselves when the broker leads the partition and the client has the new metadata of its topic.

The last two come from the client: its copy of the metadata does not list the partition yet.
"""

_RETRY_S = 0.1
_T = TypeVar("_T")


def log_range(consumer: Consumer, topic: str, partition: int, *, timeout_s: float) -> tuple[int, int]:
    """Return the first offset of a log and the offset after its last message.

    `topic` is the name in Kafka, with the prefix. Raises KafkaException if Kafka does not respond, or the partition has
    no leader within `timeout_s` seconds.
    """
    log = TopicPartition(topic, partition)
    return _retry(lambda remaining_s: consumer.get_watermark_offsets(log, timeout=remaining_s), timeout_s)


def offsets_at_times(consumer: Consumer, times: Sequence[TopicPartition], *, timeout_s: float) -> list[TopicPartition]:
    """Return for each log its first offset at or after a time (`offset`: Unix milliseconds); -1 if there is none.

    Raises KafkaException as `log_range` does.
    """

    def request(remaining_s: float) -> list[TopicPartition]:
        positions = consumer.offsets_for_times(list(times), timeout=remaining_s)
        for position in positions:
            if position.error is not None:
                raise KafkaException(position.error)
        return positions

    return _retry(request, timeout_s)


def wait_for_leaders(admin: AdminClient, partitions: Mapping[str, int], *, timeout_s: float) -> None:
    """Return when the broker answers requests about every log of new topics.

    `partitions` has the number of partitions of each topic, by its name in Kafka. Raises KafkaException as `log_range`
    does.
    """
    remaining = {TopicPartition(topic, log): OffsetSpec.latest() for topic, n in partitions.items() for log in range(n)}

    def request(remaining_s: float) -> None:
        for log, future in admin.list_offsets(dict(remaining), request_timeout=remaining_s).items():
            if (error := future.exception(remaining_s)) is None:
                del remaining[log]
            elif not _ends_with_election(error):
                raise error
        if remaining:
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, f"no leader of {next(iter(remaining))}"))

    if remaining:
        _retry(request, timeout_s)


def _ends_with_election(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _LEADER_ELECTION


def _retry(request: Callable[[float], _T], timeout_s: float) -> _T:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return request(max(_RETRY_S, deadline - time.monotonic()))
        except KafkaException as error:
            if not _ends_with_election(error) or time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_S)
