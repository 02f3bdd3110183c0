"""How long each step of one order took, computed from the records and message times in the topics.

A message time is the wall clock of the producer, in whole milliseconds. The time of a command is from the clock of the
API or command line, and the time of a broker's event from the broker's clock. Times of different machines differ by the
error of their clocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from configs.settings import KafkaSection
from dataflows.runtime.topology import COMPACT_SERVICES, SERVICES, partitions_of
from schemas.codec import decode
from schemas.errors import Unavailable, Undecodable
from schemas.records import (
    TOPIC_OF,
    Bar,
    BrokerUpdate,
    Clock,
    Command,
    Execution,
    Order,
    OrderIntent,
)
from sinks.cluster import client_config
from sinks.log_offsets import log_range, offsets_at_times
from sinks.record_locator import RecordLocator

BEFORE_MS, AFTER_MS = 60_000, 30_000
"""How long before and after the approval of the order the topics are read."""
READ_TIMEOUT_S = 30.0
DECIDING = tuple(service for service in COMPACT_SERVICES if service != "feedback")
FEED_TOPICS = ("market-bars", "commands")
TRACED_TOPICS = (
    *FEED_TOPICS,
    "broker-updates",
    *(topic for service in DECIDING for topic in SERVICES[service].outputs),
)


class TracedRecord(NamedTuple):
    """A record or clock with the time of its message, in ms since 1970."""

    written_ms: float
    record: Any


class TraceStep(NamedTuple):
    """What happened at `at_ms`, in ms since 1970. The other times are None for the first step."""

    step: str
    at_ms: float
    since_previous_ms: float | None
    since_first_ms: float | None


Logs = Mapping[tuple[str, int], Sequence[TracedRecord]]
"""The messages of each (topic, partition), oldest first."""


def trace_order(order: Order, logs: Logs) -> list[TraceStep]:
    """Return the steps of an order in the sequence of the pipeline. Steps that the logs do not contain are left out.

    The first step of a manual order is its command, that of a strategy's order the bars of its time slice.
    """
    approved_ns = order.ts_ns
    next_ns = min((ts_ns for ts_ns in _clock_times(logs, "commands") if ts_ns > approved_ns), default=None)
    steps: list[tuple[str, float | None]] = [
        *_cause_steps(order, logs),
        ("time slice closed by market_data", _closed_ms(logs, FEED_TOPICS, approved_ns)),
        *((f"processed by {service}", _service_ms(logs, service, approved_ns)) for service in _stages_up_to_risk()),
    ]
    if next_ns is not None:
        steps.append(("next time slice closed by market_data", _closed_ms(logs, FEED_TOPICS, next_ns)))
    steps += _request_steps(order, logs)
    known = [(step, at_ms) for step, at_ms in steps if at_ms is not None]
    first_ms = known[0][1] if known else 0.0
    rows, previous_ms = list[TraceStep](), None
    for step, at_ms in known:
        is_first = previous_ms is None
        since_previous = None if previous_ms is None else at_ms - previous_ms
        rows.append(TraceStep(step, at_ms, since_previous, None if is_first else at_ms - first_ms))
        previous_ms = at_ms
    return rows


def _cause_steps(order: Order, logs: Logs) -> list[tuple[str, float | None]]:
    """Return when the command of an order was sent and written; without a command, when the bars were written."""
    for timed in _records(logs, Command):
        if timed.record.command_id == order.cause_id:
            return [("command sent", timed.record.ts_ns / 1e6), ("command in Kafka", timed.written_ms)]
    bars_ms = [timed.written_ms for timed in _records(logs, Bar) if timed.record.ts_ns == order.ts_ns]
    return [("bars of the time slice in Kafka", max(bars_ms, default=None))]


def _stages_up_to_risk() -> tuple[str, ...]:
    return DECIDING[: DECIDING.index("risk") + 1]


def _request_steps(order: Order, logs: Logs) -> list[tuple[str, float | None]]:
    """Return the steps after the approval: with a broker, the request and its report; else the report of the venue."""
    intents = [timed for timed in _records(logs, OrderIntent) if timed.record.order_id == order.order_id]
    if not intents:
        reports = (timed for timed in _records(logs, Execution) if timed.record.order_id == order.order_id)
        report = next(reports, None)
        if report is None:
            return []
        return [(f"{report.record.exec_type} report of the venue in Kafka", report.written_ms)]
    steps: list[tuple[str, float | None]] = [("order intent in Kafka", intents[0].written_ms)]
    names = {timed.record.client_order_id for timed in intents}
    updates = [timed for timed in _records(logs, BrokerUpdate) if timed.record.client_order_id in names]
    if updates:
        first = updates[0]
        if first.record.happened_ns:
            steps.append((f"{first.record.event} at the broker, by its clock", first.record.happened_ns / 1e6))
        steps.append(("report of the broker in Kafka", first.written_ms))
    return steps


def _records(logs: Logs, record_type: Any) -> Iterator[TracedRecord]:
    for (topic, _), entries in logs.items():
        if topic == TOPIC_OF[record_type]:
            yield from (timed for timed in entries if type(timed.record) is record_type)


def _clock_times(logs: Logs, topic: str) -> set[int]:
    return {
        timed.record.ts_ns
        for log, entries in logs.items()
        if log[0] == topic
        for timed in entries
        if type(timed.record) is Clock
    }


def _service_ms(logs: Logs, service: str, ts_ns: int) -> float | None:
    return _closed_ms(logs, SERVICES[service].outputs, ts_ns)


def _closed_ms(logs: Logs, topics: Sequence[str], ts_ns: int) -> float | None:
    """Return when the last of these logs got the clock of a time slice, without repeats; None if one lacks it."""
    times: list[float] = []
    for (topic, _), entries in logs.items():
        if topic not in topics:
            continue
        clocks = (timed.written_ms for timed in entries if type(timed.record) is Clock and timed.record.ts_ns == ts_ns)
        written_ms = next(clocks, None)
        if written_ms is None:
            return None
        times.append(written_ms)
    return max(times, default=None)


def read_trace(kafka: KafkaSection, order: Order) -> list[TraceStep]:
    """Read the topics around the approval of an order, and return its steps. Raises Unavailable."""
    with closing(RecordLocator(kafka.cluster, kafka.symbol_partitions, prefix=kafka.topic_prefix)) as locator:
        position = locator.find(order)
    if position is None:
        raise Unavailable(f"topic orders no longer contains {order.order_id}, so its steps are unknown")
    options = {"group.id": "trace", "enable.auto.commit": False, "log_level": 0}
    try:
        with closing(Consumer(client_config(kafka.cluster, options))) as consumer:
            at_ms = _message_ms(consumer, kafka.topic_prefix + position.topic, position.partition, position.offset)
            logs = {
                (topic, partition): _read_window(consumer, kafka.topic_prefix + topic, partition, at_ms)
                for topic in TRACED_TOPICS
                for partition in partitions_of(topic, kafka.symbol_partitions)
            }
    except KafkaException as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
    return trace_order(order, logs)


def _message_ms(consumer: Consumer, topic: str, partition: int, offset: int) -> int:
    return _read_range(consumer, topic, partition, offset, offset + 1)[0][0]


def _read_window(consumer: Consumer, topic: str, partition: int, at_ms: int) -> list[TracedRecord]:
    """Read the messages of a log from a minute before to half a minute after a time."""
    _, high = log_range(consumer, topic, partition, timeout_s=READ_TIMEOUT_S)
    bounds = []
    for limit_ms in (at_ms - BEFORE_MS, at_ms + AFTER_MS):
        requested = TopicPartition(topic, partition, max(0, limit_ms))
        offset = offsets_at_times(consumer, [requested], timeout_s=READ_TIMEOUT_S)[0].offset
        bounds.append(offset if offset >= 0 else high)
    timed: list[TracedRecord] = []
    for written_ms, value in _read_range(consumer, topic, partition, *bounds):
        try:
            timed.append(TracedRecord(float(written_ms), decode(value)))
        except Undecodable:
            continue
    return timed


def _read_range(consumer: Consumer, topic: str, partition: int, start: int, end: int) -> list[tuple[int, bytes | None]]:
    """Return the time in ms and the value of each message from `start` up to `end`."""
    read: list[tuple[int, bytes | None]] = []
    if start >= end:
        return read
    consumer.assign([TopicPartition(topic, partition, start)])
    deadline = time.monotonic() + READ_TIMEOUT_S
    while True:
        if time.monotonic() > deadline:
            raise Unavailable(f"topic {topic} partition {partition}: no message received within {READ_TIMEOUT_S:.0f} s")
        for message in consumer.consume(1000, 0.2):
            if message.error() is not None:
                raise KafkaException(message.error())
            deadline = time.monotonic() + READ_TIMEOUT_S
            offset = message.offset() or 0
            if offset < end:
                read.append((message.timestamp()[1], message.value()))
            if offset + 1 >= end:
                return read
