"""Kafka source of the compact process: reads the topics of other processes and emits the output of all its services.

It has one part, whose snapshot contains the state of every service, so that all resume at the same time slice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from dataflows.runtime.checkpoint_parts import COMPACT_PART, write_part
from dataflows.runtime.compact_stages import CompactSlice, CompactStages
from dataflows.runtime.stats import Stats
from dataflows.runtime.topology import COMPACT
from dataflows.sources.kafka import IMMEDIATELY
from dataflows.sources.shared_consumer import SharedConsumer
from operators.alignment import AlignmentCounts
from schemas.codec import DEFAULT_CODEC
from sinks.cluster import Servers

CompactItem = tuple[str, list[CompactSlice]]
SLICES_MAX = 20
WAIT_S = 0.1


class CompactPartition(StatefulSourcePartition[CompactItem, Any]):
    """Feeds the stages and runs them over each time slice that is complete."""

    def __init__(
        self, stages: CompactStages, consumer: SharedConsumer, stats: Stats, stop_requested: Callable[[], bool]
    ) -> None:
        self._stages, self._consumer, self._stats, self._stop_requested = stages, consumer, stats, stop_requested
        self._snapshot_taken_after_stop = False
        for reader in stages.external_readers():
            consumer.add(reader)

    def next_batch(self) -> list[CompactItem]:
        if self._stop_requested():
            if self._snapshot_taken_after_stop:
                self._consumer.close()
                raise AbortExecution("stop requested; the last snapshot is durable")
            return []
        slices = self._stages.take_slices(SLICES_MAX)
        if not slices:
            self._consumer.resume_where_drained()
            self._poll_until_slice()
            slices = self._stages.take_slices(SLICES_MAX)
        self._write_stats()
        if slices and self._stages.marker is not None:
            write_part(self._stages.marker, self._stages.passed_ns, COMPACT_PART, self._stages.snapshot())
        self._stats.slices += len(slices)
        return [(COMPACT, slices)] if slices else []

    def _poll_until_slice(self) -> None:
        """Poll until a time slice is complete, for at most `WAIT_S`: its records seldom arrive together."""
        remaining_s, deadline = WAIT_S, time.monotonic() + WAIT_S
        while self._consumer.poll(remaining_s) and not self._stages.ready():
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                break

    def _write_stats(self) -> None:
        if not self._stats.write_due():
            return
        counts_by_service = self._stages.counts
        by_service = {service: _sums(counts) for service, counts in counts_by_service.items()}
        self._stats.write(
            last_tick_ns=self._stages.passed_ns,
            **_sums([count for counts in counts_by_service.values() for count in counts]),
            services=by_service,
        )

    def next_awake(self) -> datetime | None:
        """Return a past time, so that the engine does not pause for 1 ms after an empty batch; `poll` waits."""
        return None if self._stop_requested() else IMMEDIATELY

    def snapshot(self) -> Any:
        self._snapshot_taken_after_stop = self._stop_requested()
        self._consumer.commit(self._stages.next_offsets())
        return self._stages.snapshot()

    def close(self) -> None:
        self._consumer.close()


def _sums(counts: Sequence[AlignmentCounts]) -> dict[str, int]:
    """Return the sums of the counts of several readers, by their names in the statistics file."""
    return {
        "records_in": sum(count.accepted for count in counts),
        "dead_letters": sum(count.dead_letters for count in counts),
        "late_records": sum(count.late for count in counts),
        "duplicates": sum(count.duplicates for count in counts),
        "seq_gaps": sum(count.gaps for count in counts),
        "unverified_commands": sum(count.unverified_commands for count in counts),
    }


class CompactSource(FixedPartitionedSource[CompactItem, Any]):
    """The services of the compact process as a Bytewax source. Items are `("compact", [CompactSlice, ...])`.

    `open_stages` makes the stages from None or an earlier snapshot. `prefix` precedes every topic name. `on_resume`
    receives the last time slice of the snapshot, -1 without one.
    """

    def __init__(
        self,
        servers: Servers,
        open_stages: Callable[[Any], CompactStages],
        *,
        prefix: str = "",
        stop_requested: Callable[[], bool] = lambda: False,
        stats: Stats | None = None,
        on_resume: Callable[[int], None] = lambda passed_ns: None,
    ) -> None:
        self._servers, self._open_stages, self._prefix = servers, open_stages, prefix
        self._stop_requested, self._stats, self._on_resume = stop_requested, stats or Stats(COMPACT, None), on_resume

    def list_parts(self) -> list[str]:
        return [COMPACT]

    def build_part(self, step_id: str, for_part: str, resume_state: Any | None) -> CompactPartition:
        stages = self._open_stages(resume_state)
        self._on_resume(stages.passed_ns)
        consumer = SharedConsumer(self._servers, self._prefix, DEFAULT_CODEC, COMPACT, bounded=False)
        return CompactPartition(stages, consumer, self._stats, self._stop_requested)
