"""Replay the recorded topics from a checkpoint, and compare with the recording and with later checkpoints.

The stages run as in the compact process (`dataflows/runtime/compact_stages.py`), whatever the layout of the platform:
the state of each shard is the same in both layouts. The work is proportional to the log after the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from sys import maxsize
from typing import Any, NamedTuple

import structlog

from configs.settings import KafkaSection, Settings
from dataflows.replay.checkpoint_states import CheckpointState, first_state_difference
from dataflows.replay.comparison import (
    ComparisonTally,
    Progress,
    ReplayComparison,
    ReplayWindow,
    compare_slices,
)
from dataflows.replay.differences import Difference
from dataflows.replay.recorded_source import RecordedSource
from dataflows.replay.recording import DERIVED_TOPICS, read_slices_after
from dataflows.runtime import stages, topology
from dataflows.runtime.compact_stages import CompactSlice, CompactStages
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.handler_timeouts import TOPIC as HANDLER_TIMEOUTS
from dataflows.runtime.handler_timeouts import StageWithTimeouts, TimeoutsBySlice, recorded_timeouts
from dataflows.sources.shared_consumer import ReplayEnd, SharedConsumer
from operators.stage import TimeSlice
from schemas.codec import DEFAULT_CODEC
from schemas.records import HandlerTimeout

log = structlog.get_logger(__name__)

POLL_S = 0.05


class LaterCheckpoint(NamedTuple):
    """A checkpoint that the replay reaches. `read` returns its state of the compact process.

    `other_release` is the release that wrote it, "" if it is this one.
    """

    checkpoint_id: str
    slice_ns: int
    read: Callable[[], Any]
    other_release: str = ""


class Replay(NamedTuple):
    """The recorded time slices after a checkpoint, and those of the stages that continue from it."""

    stages: CompactStages
    replayed: Iterator[CompactSlice]
    recorded: Iterator[TimeSlice]

    def close(self) -> None:
        """Close the consumers, for a caller that does not read to the end."""
        for stream in (self.replayed, self.recorded):
            if isinstance(stream, Generator):
                stream.close()


def replay_stages(
    settings: Settings, state: Any, timeouts: TimeoutsBySlice, source: RecordedSource | None = None
) -> CompactStages:
    """Return the stages of all services, which continue from a state of the compact process.

    They raise BadInput if they must not run recorded source code. A state does not contain it.
    """
    use_source = (source or RecordedSource()).settings_for

    def make_of(service: str) -> StageFactory:
        make = getattr(stages, service)
        if HANDLER_TIMEOUTS in topology.SERVICES[service].unclocked:
            make = StageWithTimeouts.under_settings(make, timeouts)
        return StageFactory(make, settings, use_source=use_source)

    makers = {service: make_of(service) for service in topology.COMPACT_SERVICES}
    unread = {"strategies": stages.unread_topics(settings)}
    return CompactStages(makers, settings.kafka.symbol_partitions, unread=unread, state=state)


def open_replay(settings: Settings, start: CheckpointState, source: RecordedSource | None = None) -> Replay:
    """Open the topics after a checkpoint. Iteration raises Unavailable if messages are missing or cannot be read.

    Take the first recorded time slice before the first replayed one: this fixes the end of the recording. The timeouts
    of handlers are read afterwards, so that none is missing whose suspension is in the recording.
    """
    kafka, timeouts = settings.kafka, dict[int, Sequence[HandlerTimeout]]()
    running = replay_stages(settings, start.compact, timeouts, source)
    recorded = read_slices_after(kafka, "replay-check", DERIVED_TOPICS, start.slice_ns, start.outputs)
    return Replay(running, _replayed_slices(kafka, running, timeouts), recorded)


def _replayed_slices(
    kafka: KafkaSection, running: CompactStages, timeouts: dict[int, Sequence[HandlerTimeout]]
) -> Generator[CompactSlice]:
    """Feed the inputs from the positions of the stages up to their present end, and yield what the stages write.

    `timeouts` are those of the stages. They are read here.
    """
    timeouts.update(recorded_timeouts(kafka))
    consumer = SharedConsumer(
        kafka.cluster, kafka.topic_prefix, DEFAULT_CODEC, "replay-check", bounded=True, archive=kafka.archive
    )
    with closing(consumer):
        consumer.set_end(list(running.next_offsets()), ReplayEnd(end_of_logs=True))
        for reader in running.external_readers():
            consumer.add(reader)
        while True:
            slices = running.take_slices(1)
            yield from slices
            if slices:
                continue
            consumer.resume_where_drained()
            ends, delivered_to = consumer.end_offsets, consumer.delivered_to
            if any(delivered_to[log] >= ends.get(log, maxsize) for log in running.awaited_logs()):
                return
            consumer.poll(POLL_S)


def compare_from_checkpoint(
    replay: Replay,
    start: CheckpointState,
    later: Mapping[int, LaterCheckpoint],
    window: ReplayWindow,
    progress: Progress = lambda _: None,
) -> ReplayComparison:
    """Compare the recorded records in `window` with the replayed ones, and the state at each later checkpoint with it.

    `later` are checkpoints by their time slice. The comparison ends at the first difference.
    """
    tally = ComparisonTally(checkpoint=start.checkpoint_id)
    for recorded in replay.recorded:
        replayed = next(replay.replayed, None)
        if replayed is None:
            break
        ts_ns = max(recorded.ts_ns, replayed.ts_ns)
        if window.ends_before(ts_ns):
            break
        outputs = [record for output in replayed.outputs for record in output.time_slice.records]
        difference = _compare(recorded, TimeSlice(replayed.ts_ns, outputs), window)
        if difference is None and replayed.ts_ns in later:
            is_compared, difference = _compare_state(replay, later[replayed.ts_ns])
            tally.checkpoints += [later[replayed.ts_ns].checkpoint_id] if is_compared else []
        if difference is not None:
            return tally.result(difference)
        if window.contains(ts_ns):
            tally.add(recorded, TimeSlice(replayed.ts_ns, []))
            if tally.is_progress_due:
                progress(tally.result(None))
    return tally.result(None)


def _compare(recorded: TimeSlice, replayed: TimeSlice, window: ReplayWindow) -> Difference | None:
    difference = compare_slices(recorded, replayed)
    if difference is not None and recorded.ts_ns == replayed.ts_ns and not window.contains(recorded.ts_ns):
        return None  # before the time from which on to compare
    return difference


def _compare_state(replay: Replay, checkpoint: LaterCheckpoint) -> tuple[bool, Difference | None]:
    """Return whether the state at a checkpoint could be compared, and the difference.

    The same state can have another form in another release. A difference is then reported, and is not a finding.
    """
    text = first_state_difference(checkpoint.read(), replay.stages.snapshot())
    if not text:
        return True, None
    if checkpoint.other_release:
        log.warning(
            "the state of a checkpoint of another release has another form and is not compared",
            checkpoint=checkpoint.checkpoint_id,
            release=checkpoint.other_release,
            first_difference=text,
        )
        return False, None
    return True, Difference(
        ts_ns=checkpoint.slice_ns,
        topic="",
        recorded=None,
        replayed=None,
        state=f"the state differs from {checkpoint.checkpoint_id}: {text}",
    )
