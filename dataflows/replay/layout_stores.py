"""Convert the states of the services between the layouts, and write them into new recovery stores.

In both layouts, the state of a shard has the same form (`dataflows/runtime/compact_stages.py`). The state of the
compact process contains those of all shards. It differs in the topics between its services:

- It contains the records that feedback inputs have received and not yet delivered. A conversion reads them from the
  topics.
- It has no offsets in these topics. A conversion uses the offset after the last clock that each reader has delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import Consumer, KafkaException

from configs.settings import KafkaSection
from dataflows.replay.store_rebuild import run_with_store
from dataflows.runtime import topology
from dataflows.runtime.compact_stages import VERSION
from dataflows.runtime.log_tail import read_ranges
from schemas.codec import encode
from schemas.errors import BadInput, Unavailable
from schemas.log_names import LogName
from schemas.records import Clock
from sinks.cluster import client_config
from sinks.log_offsets import log_range

States = Mapping[str, Mapping[str, tuple[Any, Any]]]
"""The states of the source and of the stage, by service and shard."""
_FIRST_READS = (500, 20_000)
_TIMEOUT_S = 30.0


class TopicReader(Protocol):
    """Reads the messages of logs. Raises Unavailable."""

    def log_range(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset of a log, and the offset after its last message."""
        ...

    def read(self, ranges: Mapping[LogName, tuple[int, int]]) -> Mapping[LogName, Sequence[tuple[int, Any]]]:
        """Return the records and clocks of each log from an offset up to another, each with its offset."""
        ...


def compact_state(topics: TopicReader, states: States, slice_ns: int) -> Any:
    """Return the state of the compact process after the time slice `slice_ns`, from the states of its services.

    `states` are those of the services that share the process; their offsets cover all topics that they read.
    Raises Unavailable if the topics cannot be read, and BadInput if one lacks that time slice.
    """
    own_topics, offsets = topology.compact_topics(states), dict[LogName, int]()
    for service, shards in states.items():
        fed_back = {item.topic for item in topology.SERVICES[service].inputs if item.feedback}
        for reader_state, _ in shards.values():
            for name, (next_offset, *_) in reader_state[2].items():
                log = _log_of(name)
                if log[0] in fed_back & own_topics:
                    offsets[log] = min(next_offset, offsets.get(log, next_offset))
    pending = {f"{topic}/{n}": found for (topic, n), found in _messages_up_to(topics, offsets, slice_ns).items()}
    return (VERSION, slice_ns, {service: dict(shards) for service, shards in states.items()}, pending)


def service_states(
    topics: TopicReader, state: Any, known: Mapping[LogName, int] | None = None
) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Return the states of the services in a state of the compact process, with their offsets in all topics.

    `known` are offsets after the clock of the state's time slice. They are not read from the topics, which may no
    longer hold that clock.

    Raises Unavailable if the topics cannot be read, and BadInput if one lacks a clock.
    """
    version, slice_ns, services, _ = state
    assert version == VERSION, f"state of the compact process: version {version}, expected {VERSION}"
    own_topics = topology.compact_topics(services)
    passed_clocks: dict[LogName, set[int]] = {}
    for shards in services.values():
        for (_, _, logs, *_), _ in shards.values():
            for name, (next_offset, clock_ns, *_) in logs.items():
                # A log without a passed message has no clock to look for.
                log = _log_of(name)
                if log[0] not in own_topics or next_offset <= 0 or clock_ns < 0:
                    continue
                if known is None or clock_ns != slice_ns or log not in known:
                    passed_clocks.setdefault(log, set()).add(clock_ns)
    offsets = offsets_behind_clocks(topics, passed_clocks)
    for log, offset in (known or {}).items():
        if log[0] in own_topics:
            offsets.setdefault(log, {})[slice_ns] = offset
    return {
        service: {
            shard: (_with_offsets(reader_state, offsets), logic_state)
            for shard, (reader_state, logic_state) in shards.items()
        }
        for service, shards in services.items()
    }


def _with_offsets(reader_state: Any, offsets: Mapping[LogName, Mapping[int, int]]) -> Any:
    version, passed_ns, logs, *rest = reader_state
    converted = {}
    for name, (next_offset, clock_ns, *others) in logs.items():
        known = offsets.get(_log_of(name))
        offset = known[clock_ns] if known is not None and next_offset > 0 and clock_ns >= 0 else next_offset
        converted[name] = (offset, clock_ns, *others)
    return (version, passed_ns, converted, *rest)


def _log_of(name: str) -> LogName:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)


# -- the topics --------------------------------------------------------------------------------------------------------


class KafkaTopics:
    """The topics of a platform as a `TopicReader`. Close it after use."""

    def __init__(self, kafka: KafkaSection) -> None:
        self._prefix = kafka.topic_prefix
        options = {"group.id": f"{kafka.topic_prefix}layout", "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer(client_config(kafka.cluster, options))

    def log_range(self, topic: str, partition: int) -> tuple[int, int]:
        try:
            return log_range(self._consumer, self._prefix + topic, partition, timeout_s=_TIMEOUT_S)
        except KafkaException as error:
            raise Unavailable(f"cannot read topic {topic}/{partition}: {error.args[0].str()}") from error

    def read(self, ranges: Mapping[LogName, tuple[int, int]]) -> Mapping[LogName, Sequence[tuple[int, Any]]]:
        prefixed = {(self._prefix + topic, partition): limits for (topic, partition), limits in ranges.items()}
        try:
            records = read_ranges(self._consumer, prefixed)
        except KafkaException as error:
            raise Unavailable(f"cannot read the topics: {error.args[0].str()}") from error
        return {(topic.removeprefix(self._prefix), partition): found for (topic, partition), found in records.items()}

    def close(self) -> None:
        self._consumer.close()


def _messages_up_to(topics: TopicReader, offsets: Mapping[LogName, int], slice_ns: int) -> dict[LogName, list[bytes]]:
    """Return the messages of each log from an offset to the clock of a time slice, which includes the clock."""
    if slice_ns < 0:
        return {log: [] for log in offsets}
    ranges = {log: topics.log_range(*log) for log in sorted(offsets)}
    for (topic, partition), (first, _) in ranges.items():
        if offsets[topic, partition] < first:
            expected = offsets[topic, partition]
            raise BadInput(f"topic {topic}/{partition} starts at offset {first}, expected {expected}; restore a backup")
    messages: dict[LogName, list[bytes]] = {}
    for log, numbered in topics.read({log: (offsets[log], end) for log, (_, end) in ranges.items()}).items():
        records = [record for _, record in numbered]
        ends = [n for n, record in enumerate(records) if type(record) is Clock and record.ts_ns >= slice_ns]
        if not ends:
            raise BadInput(f"topic {log[0]}/{log[1]} has no clock of time slice {slice_ns}; restore a backup")
        messages[log] = [encode(record) for record in records[: ends[0] + 1]]
    return messages


def offsets_behind_clocks(
    topics: TopicReader, clocks: Mapping[LogName, Collection[int]]
) -> dict[LogName, dict[int, int]]:
    """Return, for each clock of each log, an offset after it and before the next later clock.

    Earlier clocks and records may follow the offset, because a process writes records again after a crash. Raises
    BadInput if a clock is missing.
    """
    remaining = {log: topics.log_range(*log) for log in clocks}
    found: dict[LogName, dict[int, int]] = {}
    for count in (*_FIRST_READS, None):
        ranges = {
            log: (first if count is None else max(first, end - count), end) for log, (first, end) in remaining.items()
        }
        for log, numbered in topics.read(ranges).items():
            offsets: dict[int, int] = {}
            for offset, record in numbered:
                if type(record) is Clock and record.ts_ns in clocks[log]:
                    offsets.setdefault(record.ts_ns, offset + 1)
            if len(offsets) == len(clocks[log]):
                found[log] = offsets
                del remaining[log]
    for topic, partition in remaining:
        times = ", ".join(str(ts_ns) for ts_ns in sorted(clocks[topic, partition]))
        raise BadInput(f"topic {topic}/{partition} has no clock of time slice {times}; restore a backup")
    return found


# -- the stores --------------------------------------------------------------------------------------------------------


def write_compact_store(state: Any, target: Path) -> None:
    """Write the state of the compact process into the new, empty store `target`."""
    flow = Dataflow(topology.COMPACT)
    op.output("kafka", op.input("ticks", flow, _StoredStates({topology.COMPACT: state}, emit=False)), _NoOutput())
    run_with_store(flow, target, timedelta(0))


def write_service_store(service: str, states: Mapping[str, tuple[Any, Any]], target: Path) -> None:
    """Write the states of a service's shards into the new, empty store `target`."""
    flow = Dataflow(service)
    items = op.input("ticks", flow, _StoredStates({shard: state[0] for shard, state in states.items()}, emit=True))
    op.output("kafka", op.stateful_batch("stage", items, lambda resume: _StoredStage(states)), _NoOutput())
    run_with_store(flow, target, timedelta(0))


class _StoredPartition(StatefulSourcePartition[Any, Any]):
    def __init__(self, shard: str, state: Any, *, emit: bool) -> None:
        self._shard, self._state, self._emit, self._snapshot_taken = shard, state, emit, False

    def next_batch(self) -> list[Any]:
        if self._snapshot_taken:
            raise AbortExecution
        items, self._emit = [(self._shard, self._shard)] if self._emit else [], False
        return items

    def snapshot(self) -> Any:
        self._snapshot_taken = True
        return self._state


class _StoredStates(FixedPartitionedSource[Any, Any]):
    """Stores a state for each part. With `emit`, each part emits its name once."""

    def __init__(self, states: Mapping[str, Any], *, emit: bool) -> None:
        self._states, self._emit = states, emit

    def list_parts(self) -> list[str]:
        return list(self._states)

    def build_part(self, step_id: str, for_part: str, resume_state: Any | None) -> _StoredPartition:
        return _StoredPartition(for_part, self._states[for_part], emit=self._emit)


class _StoredStage(StatefulBatchLogic[str, Any, Any]):
    """Stores the stage's state of the shard whose name it receives."""

    def __init__(self, states: Mapping[str, tuple[Any, Any]]) -> None:
        self._states, self._state = states, None

    def on_batch(self, values: list[str]) -> tuple[list[Any], bool]:
        self._state = self._states[values[0]][1]
        return [], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[Any], bool]:
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return self._state


class _NoOutput(FixedPartitionedSink[Any, None]):
    def list_parts(self) -> list[str]:
        return ["none"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[Any, None]:
        return _NoOutputPartition()


class _NoOutputPartition(StatefulSinkPartition[Any, None]):
    def write_batch(self, values: list[Any]) -> None:
        raise AssertionError("the flow emits no item")

    def snapshot(self) -> None:
        return None
