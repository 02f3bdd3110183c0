"""Read archived topics as time slices, without Kafka."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from dataflows.replay.recording import DERIVED_TOPICS, TRADES_TOPIC, Recording, input_topics, ranked_logs
from dataflows.runtime.handler_timeouts import TOPIC as HANDLER_TIMEOUTS
from dataflows.runtime.handler_timeouts import slices_with_timeouts, timeouts_by_slice
from operators.alignment import AlignedLogs
from operators.log_cursor import LogInput
from operators.stage import TimeSlice
from schemas.codec import decode
from schemas.errors import Undecodable
from schemas.records import Clock, DeadLetter
from sinks.archive.topic_archive import TopicArchive

_MESSAGES_PER_READ = 500


def open_archived_recording(archive: TopicArchive, symbol_partitions: int, stage: str) -> Recording:
    """Open the archive as the recording of a platform. `stage` names the reader in dead letters.

    The recording ends at the last time slice that all archived topics contain. Iteration raises Unavailable if a file
    is damaged, or if the archive does not begin at the first message of a topic.
    """
    inputs = ranked_logs(input_topics(with_trades=_has_clock(archive, TRADES_TOPIC)), symbol_partitions)
    return Recording(
        slices_with_timeouts(
            read_archived_slices(archive, inputs, stage),
            lambda: timeouts_by_slice(decode(message.value) for message in archive.messages(HANDLER_TIMEOUTS, 0)),
        ),
        read_archived_slices(archive, ranked_logs(DERIVED_TOPICS, symbol_partitions), stage),
    )


def _has_clock(archive: TopicArchive, topic: str) -> bool:
    """Whether the last archived file of a topic's partition 0 holds a clock."""
    files = archive.files(topic, 0)
    if not files:
        return False
    for message in archive.file_messages(topic, 0, files[-1]):
        with suppress(Undecodable):
            if type(decode(message.value)) is Clock:
                return True
    return False


def read_archived_slices(archive: TopicArchive, logs: Sequence[LogInput], stage: str) -> Generator[TimeSlice]:
    """Yield the time slices of archived logs, up to the last one that all of them have."""
    reader = AlignedLogs(stage, logs)
    messages: dict[tuple[str, int], Iterator[tuple[int, Any]]] = {}
    for log in logs:
        archive.require(log.topic, log.partition, 0, archive.end(log.topic, log.partition))
        messages[log.topic, log.partition] = _records(archive, log, stage)
    while True:
        time_slices = reader.take_slices()
        yield from time_slices
        if time_slices:
            continue
        for topic, partition in reader.awaited_logs():
            chunk = list(islice(messages[topic, partition], _MESSAGES_PER_READ))
            if not chunk:
                return
            reader.feed(topic, partition, chunk)


def _records(archive: TopicArchive, log: LogInput, stage: str) -> Iterator[tuple[int, Any]]:
    for message in archive.messages(log.topic, log.partition):
        record: Any
        try:
            record = decode(message.value)
        except Undecodable as error:
            value = message.value or b""
            schema_id = int.from_bytes(value[1:5], "big") if len(value) >= 5 and value[0] == 0 else None
            record = DeadLetter(
                topic=log.topic,
                partition=log.partition,
                offset=message.offset,
                stage=stage,
                ts_ns=0,
                reason=str(error),
                schema_id=schema_id,
                raw=value,
            )
        yield message.offset, record
