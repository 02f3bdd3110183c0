"""The recorded timeouts of handlers: write them before the process ends, and pass them to the stages at a restart.

A live service ends its process at a timeout, and never interrupts the handler: an exception at any bytecode could leave
state of the platform partially changed, and then live and replay would differ. The restart begins from a snapshot, like
after any crash.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import structlog

from configs.settings import KafkaSection, Settings
from dataflows.runtime.exit_status import HANDLER_TIMED_OUT
from dataflows.sources.unclocked_topic import read_unclocked
from operators.handler_limit import describe_timeout
from operators.stage import Stage, TimeSlice, next_timer_ns
from schemas.codec import encode
from schemas.records import TOPIC_OF, HandlerTimeout, Record
from sinks.kafka import DELIVERY_TIMEOUT_S, producer

log = structlog.get_logger(__name__)

TOPIC = TOPIC_OF[HandlerTimeout]
TimeoutsBySlice = Mapping[int, Sequence[HandlerTimeout]]


class StageWithTimeouts:
    """A stage whose time slices begin with their recorded timeouts."""

    def __init__(self, stage: Stage, timeouts: TimeoutsBySlice) -> None:
        self._stage, self._timeouts = stage, timeouts

    @classmethod
    def factory(cls, make_stage: Callable[[], Stage], timeouts: TimeoutsBySlice) -> Callable[[], Stage]:
        """Return a function that makes a stage with these timeouts, as `make_stage` makes one without."""
        return lambda: cls(make_stage(), timeouts)

    @classmethod
    def under_settings(
        cls, make: Callable[[Settings], Callable[[], Stage]], timeouts: TimeoutsBySlice
    ) -> Callable[[Settings], Callable[[], Stage]]:
        """Return a function that makes such stages from settings, as `make` makes those without timeouts."""
        return lambda settings: cls.factory(make(settings), timeouts)

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        return self._stage.on_slice(ts_ns, with_timeouts(ts_ns, records, self._timeouts))

    def next_timer_ns(self) -> int | None:
        return next_timer_ns(self._stage)

    def snapshot(self) -> Any:
        return self._stage.snapshot()

    def restore(self, snapshot: Any) -> None:
        self._stage.restore(snapshot)


def with_timeouts(ts_ns: int, records: Sequence[Record], timeouts: TimeoutsBySlice) -> Sequence[Record]:
    """Return the records of a time slice after its recorded timeouts."""
    recorded = timeouts.get(ts_ns)
    return [*recorded, *records] if recorded else records


def slices_with_timeouts(
    time_slices: Generator[TimeSlice], read_timeouts: Callable[[], TimeoutsBySlice]
) -> Generator[TimeSlice]:
    """Yield time slices with their recorded timeouts, which are read before the first time slice."""
    with closing(time_slices):
        timeouts = read_timeouts()
        for time_slice in time_slices:
            yield TimeSlice(time_slice.ts_ns, with_timeouts(time_slice.ts_ns, time_slice.records, timeouts))


def recorded_timeouts(kafka: KafkaSection) -> TimeoutsBySlice:
    """Read the recorded timeouts by time slice; none if the topic does not exist. Raises Unavailable."""
    return timeouts_by_slice(read_unclocked(kafka, TOPIC, may_be_missing=True))


def timeouts_by_slice(records: Iterable[Record]) -> TimeoutsBySlice:
    """Return the timeouts of the topic `handler-timeouts` by their time slice."""
    timeouts: dict[int, list[HandlerTimeout]] = {}
    for record in records:
        assert isinstance(record, HandlerTimeout), f"topic {TOPIC} holds only timeouts"
        timeouts.setdefault(record.ts_ns, []).append(record)
    return timeouts


def record_and_exit(kafka: KafkaSection) -> Callable[[list[HandlerTimeout]], None]:
    """Return a function that records the timeouts of a call and ends this process. No result of the call is used."""

    def end_process(timeouts: list[HandlerTimeout]) -> None:
        status = 1
        try:
            if publish_timeouts(kafka, timeouts):
                status = HANDLER_TIMED_OUT
            timeout = timeouts[0]
            log.error(
                "handler time limit exceeded",
                strategy=timeout.strategy,
                symbol=timeout.symbol,
                at=f"{timeout.file}:{timeout.line}",
                message=describe_timeout(timeout),
                recorded=status == HANDLER_TIMED_OUT,
            )
            sys.stdout.flush()
            sys.stderr.flush()
        finally:  # the handler may never return, whatever happens here
            os._exit(status)

    return end_process


def publish_timeouts(kafka: KafkaSection, timeouts: Sequence[HandlerTimeout]) -> bool:
    """Write timeouts to their topic. Return whether Kafka has acknowledged all of them."""
    errors: list[Any] = []

    def on_delivery(error: Any, _: Any) -> None:
        if error is not None:
            errors.append(error)

    client = producer(kafka.cluster)
    for timeout in timeouts:
        client.produce(kafka.topic_prefix + TOPIC, encode(timeout), partition=0, on_delivery=on_delivery)
    return not client.flush(DELIVERY_TIMEOUT_S) and not errors
