"""In-memory connectors for a dataflow: the input of its shards and their output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.stage import TimeSlice


class MemorySource(FixedPartitionedSource[tuple[str, list[TimeSlice]], int]):
    """Reads a list of time slices per shard, `batch` of them in each item."""

    def __init__(self, time_slices: Mapping[str, Sequence[TimeSlice]], batch: int) -> None:
        self._time_slices, self._batch = time_slices, batch

    def list_parts(self) -> list[str]:
        return list(self._time_slices)

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Any:
        return _MemorySourcePartition(for_part, self._time_slices[for_part], self._batch)


class _MemorySourcePartition(StatefulSourcePartition[tuple[str, list[TimeSlice]], int]):
    def __init__(self, shard: str, time_slices: Sequence[TimeSlice], batch: int) -> None:
        self._shard, self._time_slices, self._batch, self._position = shard, time_slices, batch, 0

    def next_batch(self) -> list[tuple[str, list[TimeSlice]]]:
        if self._position >= len(self._time_slices):
            raise StopIteration
        time_slices = list(self._time_slices[self._position : self._position + self._batch])
        self._position += len(time_slices)
        return [(self._shard, time_slices)]

    def snapshot(self) -> int:
        return self._position


class MemorySink(FixedPartitionedSink[list[TimeSlice], None]):
    """Stores the received time slices of each shard in order."""

    def __init__(self, shards: Sequence[str]) -> None:
        self.time_slices: dict[str, list[TimeSlice]] = {shard: [] for shard in shards}

    def list_parts(self) -> list[str]:
        return list(self.time_slices)

    def part_fn(self, item_key: str) -> int:
        return sorted(self.time_slices).index(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        return _MemorySinkPartition(self.time_slices[for_part])


class _MemorySinkPartition(StatefulSinkPartition[list[TimeSlice], None]):
    def __init__(self, time_slices: list[TimeSlice]) -> None:
        self._time_slices = time_slices

    def write_batch(self, values: list[list[TimeSlice]]) -> None:
        for time_slices in values:
            self._time_slices += time_slices

    def snapshot(self) -> None:
        """Return no state: these runs do not resume."""
