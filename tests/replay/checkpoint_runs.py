"""Runs with checkpoint markers, and sealed checkpoints of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from configs.settings import Settings
from dataflows.replay.checkpoint_books import books_of
from dataflows.replay.checkpoint_states import CheckpointParts, CheckpointState, combined_state
from dataflows.replay.recording import DERIVED_TOPICS, position_behind, ranked_logs, without_repeats
from dataflows.runtime import topology
from dataflows.runtime.compact_stages import CompactSlice, CompactStages
from deploy.checkpoints.books import books_hash
from deploy.checkpoints.checkpoint_files import Manifest, seal
from deploy.home import Home
from deploy.supervisor.platform_identity import PlatformIdentity, write_folder_identity
from operators.alignment import AlignedLogs
from operators.stage import TimeSlice
from schemas.records import CheckpointMarker
from tests.replay.compact_runs import MemoryTopics, compact_stages, feed_from, write_slices
from tests.replay.in_memory_platform import Logs


def with_markers(time_slices: Sequence[TimeSlice], indices: Sequence[int]) -> list[TimeSlice]:
    """Return time slices with a checkpoint marker in some of them."""
    return [
        TimeSlice(
            ts, [CheckpointMarker(f"checkpoint-{n}", ts, "tester", "test"), *records] if n in indices else records
        )
        for n, (ts, records) in enumerate(time_slices)
    ]


class WholeRun:
    """A run of the compact process, with its state at each marker and at the end.

    `restarts` are called before the time slice of their index, between two processes.
    """

    def __init__(
        self,
        settings: Settings,
        feed: Sequence[TimeSlice],
        partitions: int,
        restarts: Mapping[int, Callable[[], object]] | None = None,
    ) -> None:
        self.logs = Logs(partitions)
        self.logs.write("market_data", topology.FEED_SHARD, feed)
        stages = compact_stages(settings, partitions)
        feed_from(stages, self.logs)
        self.states: dict[int, bytes] = {}
        for index in range(len(feed)):
            if restarts is not None and index in restarts:
                state = pickle.dumps(stages.snapshot())
                restarts[index]()
                stages = compact_stages(settings, partitions, pickle.loads(state))  # noqa: S301  (written above)
                feed_from(stages, self.logs)
            write_slices(self.logs, stages.take_slices(1))
            if stages.marker is not None:
                self.states[stages.passed_ns] = pickle.dumps(stages.snapshot())
        self.end = pickle.dumps(stages.snapshot())
        assert stages.passed_ns == feed[-1].ts_ns

    @property
    def end_state(self) -> Any:
        return pickle.loads(self.end)  # noqa: S301  (written above)

    def state(self, slice_ns: int) -> Any:
        return pickle.loads(self.states[slice_ns])  # noqa: S301  (written above)

    def checkpoint(self, slice_ns: int) -> CheckpointState:
        """Return the checkpoint of a time slice with a marker."""
        topics, parts = MemoryTopics(self.logs), CheckpointParts(self.state(slice_ns), {})
        return combined_state(topics, f"checkpoint-{slice_ns}", slice_ns, parts, self.logs.partitions)


def platform_identity(
    platform_id: str = "p-1", epoch: int = 1, *, prefix: str = "", partitions: int = 2
) -> PlatformIdentity:
    return PlatformIdentity(
        platform_id=platform_id,
        epoch=epoch,
        broker="simulated",
        feed="files",
        symbol_partitions=partitions,
        cluster_id="c",
        topic_prefix=prefix,
        created_at="2024-01-15T00:00:00+00:00",
    )


def seal_checkpoint(
    home: Home,
    settings: Settings,
    state: CheckpointState,
    identity: PlatformIdentity,
    *,
    created_ns: int = 1,
    audit_heads: tuple[tuple[str, int, str], ...] = (("orders", 3, "5f" * 32),),
) -> Manifest:
    """Seal a checkpoint of the platform `identity` in a state folder."""
    home.checkpoints.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(
        checkpoint_id=state.checkpoint_id,
        slice_ns=state.slice_ns,
        created_ns=created_ns,
        actor="tester",
        reason="test",
        release="test",
        layout="compact",
        platform_id=identity.platform_id,
        epoch=identity.epoch,
        topic_prefix=identity.topic_prefix,
        symbol_partitions=identity.symbol_partitions,
        books=books_hash(books_of(settings, state.compact[2])),
        audit_heads=audit_heads,
        outputs={},
        parts={},
        state_version=0,
    )
    return seal(home.checkpoints, manifest, state)


def home_of(folder: Any, identity: PlatformIdentity) -> Home:
    """Return a state folder that belongs to a platform."""
    home = Home(folder)
    home.create_folders()
    write_folder_identity(home, identity)
    return home


def replayed_slices(stages: CompactStages, logs: Logs) -> Iterator[CompactSlice]:
    """Feed the external logs from the positions of `stages`, and yield what the stages write."""
    feed_from(stages, logs)
    while slices := stages.take_slices(1):
        yield from slices


def recorded_slices(logs: Logs, start: CheckpointState) -> Iterator[TimeSlice]:
    """Return the recorded time slices of all services after a checkpoint."""
    reader = AlignedLogs(
        "test", ranked_logs(DERIVED_TOPICS, logs.partitions), position_behind(start.slice_ns, start.outputs)
    )
    for log, offset in reader.next_offsets().items():
        reader.feed(*log, logs.read(log, offset, len(logs.messages[log])))
    return without_repeats(reader.take_slices(10**6), start.slice_ns)
