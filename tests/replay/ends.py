"""Ends in memory for a dataflow: what its shards read, and what they gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.stage import Tick


class TapeSource(FixedPartitionedSource[tuple[str, list[Tick]], int]):
    """Per shard a list of ticks, `batch` of them an item."""

    def __init__(self, ticks: Mapping[str, Sequence[Tick]], batch: int) -> None:
        self._ticks, self._batch = ticks, batch

    def list_parts(self) -> list[str]:
        return list(self._ticks)

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Any:
        return _Part(for_part, self._ticks[for_part], self._batch)


class _Part(StatefulSourcePartition[tuple[str, list[Tick]], int]):
    def __init__(self, shard: str, ticks: Sequence[Tick], batch: int) -> None:
        self._shard, self._ticks, self._batch, self._at = shard, ticks, batch, 0

    def next_batch(self) -> list[tuple[str, list[Tick]]]:
        if self._at >= len(self._ticks):
            raise StopIteration
        taken = list(self._ticks[self._at : self._at + self._batch])
        self._at += len(taken)
        return [(self._shard, taken)]

    def snapshot(self) -> int:
        return self._at


class Collected(FixedPartitionedSink[list[Tick], None]):
    """Keeps what came, per shard in order."""

    def __init__(self, shards: Sequence[str]) -> None:
        self.ticks: dict[str, list[Tick]] = {shard: [] for shard in shards}

    def list_parts(self) -> list[str]:
        return list(self.ticks)

    def part_fn(self, item_key: str) -> int:
        return sorted(self.ticks).index(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        return _Kept(self.ticks[for_part])


class _Kept(StatefulSinkPartition[list[Tick], None]):
    def __init__(self, ticks: list[Tick]) -> None:
        self._ticks = ticks

    def write_batch(self, values: list[list[Tick]]) -> None:
        for ticks in values:
            self._ticks += ticks

    def snapshot(self) -> None:
        """Nothing to remember: these runs are not resumed."""
