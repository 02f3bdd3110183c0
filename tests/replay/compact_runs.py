"""Runs of the compact process in memory: the feed's logs in, the logs of all services out."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from configs.settings import Settings
from dataflows.runtime import topology
from dataflows.runtime.compact_stages import CompactSlice, CompactStages
from operators.stage import TimeSlice
from tests.replay.in_memory_platform import Logs, ServiceShard, stage_of


def compact_stages(
    settings: Settings, partitions: int, state: Any = None, *, beside: Sequence[str] = ()
) -> CompactStages:
    make_stages = {
        service: lambda service=service: stage_of(service, settings) for service in topology.compact_services(beside)
    }
    return CompactStages(make_stages, partitions, state=state)


def feed_from(stages: CompactStages, logs: Logs) -> None:
    """Feed every message of the external logs, from the positions of `stages`."""
    for log, start in stages.next_offsets().items():
        stages.feed(*log, logs.read(log, start, len(logs.messages[log]) - start))


def write_slices(logs: Logs, slices: Iterable[CompactSlice]) -> None:
    for compact_slice in slices:
        for service, shard, time_slice in compact_slice.outputs:
            logs.write(service, shard, [time_slice])


def run_compact(settings: Settings, feed: Sequence[TimeSlice], partitions: int, *, crash_every: int = 0) -> Logs:
    """Return the logs of a run. With `crash_every`, the process starts again after so many time slices, and has
    written each last time slice before its crash without a snapshot, so that it writes it again.
    """
    logs = Logs(partitions)
    logs.write("market_data", topology.FEED_SHARD, feed)
    stages = compact_stages(settings, partitions)
    feed_from(stages, logs)
    if not crash_every:
        write_slices(logs, stages.take_slices(len(feed)))
        return logs
    while stages.passed_ns < feed[-1].ts_ns:
        write_slices(logs, stages.take_slices(crash_every))
        snapshot = pickle.dumps(stages.snapshot())
        write_slices(logs, stages.take_slices(1))
        stages = compact_stages(settings, partitions, pickle.loads(snapshot))  # noqa: S301  (written above)
        feed_from(stages, logs)
    return logs


def run_compact_with_edges(
    settings: Settings, feed: Sequence[TimeSlice], partitions: int, beside: Sequence[str], *, crash_every: int
) -> Logs:
    """Return the logs of a compact process and of the services beside it.

    After so many time slices, the compact process takes a snapshot. One time slice later, it starts again from it. The
    services beside it crash in turn, each from a snapshot of up to `crash_every` time slices before.
    """
    logs = Logs(partitions)
    logs.write("market_data", topology.FEED_SHARD, feed)
    edges = [
        ServiceShard(service, shard, settings, logs)
        for service in beside
        for shard in topology.shards(service, partitions)
    ]
    stages, snapshot, slices = compact_stages(settings, partitions, beside=beside), b"", 0
    offsets = stages.next_offsets()
    while stages.passed_ns < feed[-1].ts_ns:
        for edge in edges:
            for log_name in edge.unread_logs():
                edge.feed(log_name, 10**6)
            edge.step(1)
        for log, start in offsets.items():
            messages = logs.read(log, start, len(logs.messages[log]) - start)
            stages.feed(*log, messages)
            offsets[log] = start + len(messages)
        written = stages.take_slices(1)
        write_slices(logs, written)
        slices += len(written)
        if written and slices % crash_every == 0:
            snapshot = pickle.dumps(stages.snapshot())
            crashed = edges[slices // crash_every % len(edges)]
            crashed.crash()
            for edge in edges:
                edge.take_snapshot()
        elif written and slices % crash_every == 1 and snapshot:
            stages = compact_stages(settings, partitions, pickle.loads(snapshot), beside=beside)  # noqa: S301
            offsets, snapshot = stages.next_offsets(), b""
    return logs


class MemoryTopics:
    """Logs in memory as a `TopicReader`."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    def log_range(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self._logs.messages[topic, partition])

    def read(
        self, ranges: Mapping[tuple[str, int], tuple[int, int]]
    ) -> Mapping[tuple[str, int], Sequence[tuple[int, Any]]]:
        return {log: self._logs.read(log, start, end - start) for log, (start, end) in ranges.items()}


def state_of(shard: ServiceShard) -> tuple[Any, Any]:
    """Return the states that the store of a service's shard would hold."""
    return shard.reader.snapshot(), shard.logic.snapshot()
