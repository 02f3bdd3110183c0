"""Sinks of the compact process: each service writes its own topics, as its own process would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.runtime import live_endpoints, topology
from dataflows.runtime.compact_stages import CompactSlice
from operators.stage import TimeSlice

CompactItem = tuple[str, list[CompactSlice]]


class _CompactPartition(StatefulSinkPartition[list[CompactSlice], None]):
    def __init__(self, parts: Mapping[tuple[str, str], Any]) -> None:
        self._parts = parts

    def write_batch(self, values: list[list[CompactSlice]]) -> None:
        for slices in values:
            for compact_slice in slices:
                for service, shard, time_slice in compact_slice.outputs:
                    self._parts[service, shard].write_batch([[time_slice]])

    def snapshot(self) -> None:
        for part in self._parts.values():
            part.snapshot()

    def close(self) -> None:
        for part in self._parts.values():
            part.close()


class CompactKafkaSink(FixedPartitionedSink[list[CompactSlice], None]):
    """Items are `("compact", [CompactSlice, ...])`. `sinks` are the Kafka sinks of the services."""

    def __init__(self, sinks: Mapping[str, Any]) -> None:
        self._sinks = sinks

    def list_parts(self) -> list[str]:
        return [topology.COMPACT]

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _CompactPartition:
        return _CompactPartition(
            {
                (service, shard): sink.build_part(step_id, shard, None)
                for service, sink in self._sinks.items()
                for shard in sink.list_parts()
            }
        )


def all_records(slices: list[CompactSlice]) -> list[TimeSlice]:
    """Return each time slice with the records of all services."""
    return [
        TimeSlice(ts_ns, [record for output in outputs for record in output.time_slice.records])
        for ts_ns, outputs in slices
    ]


def stored_records(item: CompactItem) -> CompactItem | tuple[str, list[TimeSlice]]:
    """Return each time slice with the records that the services store in tables, each by one service."""
    return item[0], [
        TimeSlice(
            ts_ns,
            [
                record
                for service, _, time_slice in outputs
                for record in time_slice.records
                if type(record) not in _STORED_ELSEWHERE[service]
            ],
        )
        for ts_ns, outputs in item[1]
    ]


def service_items(service: str) -> Callable[[CompactItem], tuple[str, list[TimeSlice]]]:
    """Return a function that selects what one service without shards writes."""
    return lambda item: (
        topology.GLOBAL_SHARD,
        [time_slice for compact_slice in item[1] for time_slice in compact_slice.of_service(service)],
    )


_STORED_ELSEWHERE = {service: live_endpoints.stored_elsewhere(service) for service in topology.COMPACT_SERVICES}
