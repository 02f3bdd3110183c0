"""Replay the recorded topics from a checkpoint, and compare with the recording and with later checkpoints. A replay can
also change its settings at a time slice, for `fork` and previews.

The stages run as in the compact process (`dataflows/runtime/compact_stages.py`), whatever the layout of the platform:
the state of each shard is the same in both layouts. The work is proportional to the log after the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
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
from dataflows.replay.settings_change import ChangingStage, SettingsChange
from dataflows.runtime import stages, topology
from dataflows.runtime.compact_stages import CompactSlice, CompactStages
from dataflows.runtime.configured_stage import MakeStage, StageFactory
from dataflows.runtime.handler_timeouts import TOPIC as HANDLER_TIMEOUTS
from dataflows.runtime.handler_timeouts import StageWithTimeouts, TimeoutsBySlice, recorded_timeouts
from dataflows.sources.shared_consumer import ReplayEnd, SharedConsumer
from operators.stage import Stage, TimeSlice
from schemas.codec import DEFAULT_CODEC
from schemas.errors import BadInput
from schemas.records import HandlerTimeout

log = structlog.get_logger(__name__)

POLL_S = 0.05


class LaterCheckpoint(NamedTuple):
    """A checkpoint that the replay reaches. `read` returns its state of the compact process, and raises BadInput if it
    is damaged.

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
    settings: Settings,
    state: Any,
    timeouts: TimeoutsBySlice,
    source: RecordedSource | None = None,
    change: SettingsChange | None = None,
) -> CompactStages:
    """Return the stages of all services, which continue from a state of the compact process, up to a change of the
    settings under the recorded configurations.

    They raise BadInput if they must not run recorded source code. A state does not contain it.
    """
    use_source = (source or RecordedSource()).settings_for

    def make_of(service: str) -> Callable[[], Stage]:
        make: MakeStage = getattr(stages, service)
        if HANDLER_TIMEOUTS in topology.SERVICES[service].unclocked:
            make = StageWithTimeouts.under_settings(make, timeouts)
        factory = StageFactory(make, settings, use_source=use_source)
        if change is None:
            return factory
        make_changed = _made_once(make, change.settings)
        return lambda: ChangingStage(factory(), make_changed, change)

    makers = {service: make_of(service) for service in topology.COMPACT_SERVICES}
    unread = {"strategies": _unread_topics(settings, state, change)}
    return CompactStages(makers, settings.kafka.symbol_partitions, unread=unread, state=state)


def _made_once(make: MakeStage, settings: Settings) -> Callable[[], Stage]:
    """Return a function that makes a stage. The shards of a service share what `make` loads, at the change."""
    make_stage = cache(lambda: make(settings))
    return lambda: make_stage()()


def _unread_topics(settings: Settings, state: Any, change: SettingsChange | None) -> frozenset[str]:
    """Return the inputs of `strategies` that neither a strategy before nor one after the change needs.

    An input that the state has read is needed: the settings of this process can be those of a later start.
    """
    unread = stages.unread_topics(settings)
    if change is not None:
        unread &= stages.unread_topics(change.settings)
    readers = [reader_state for reader_state, _ in state[2].get("strategies", {}).values()]
    return unread - {name.rpartition("/")[0] for reader_state in readers for name in reader_state[2]}


def open_replay(
    settings: Settings,
    start: CheckpointState,
    source: RecordedSource | None = None,
    change: SettingsChange | None = None,
    reader: str = "replay-check",
) -> Replay:
    """Open the topics after a checkpoint. Iteration raises Unavailable if messages are missing or cannot be read.

    With a `change`, the stages change their settings, and differ from the recording from then on. `reader` names this
    process in Kafka.

    Take the first recorded time slice before the first replayed one: this fixes the end of the recording. The timeouts
    of handlers are read afterwards, so that none is missing whose suspension is in the recording.
    """
    kafka, timeouts = settings.kafka, dict[int, Sequence[HandlerTimeout]]()
    running = replay_stages(settings, start.compact, timeouts, source, change)
    recorded = read_slices_after(kafka, reader, DERIVED_TOPICS, start.slice_ns, start.outputs)
    return Replay(running, _replayed_slices(kafka, running, timeouts, reader), recorded)


def _replayed_slices(
    kafka: KafkaSection, running: CompactStages, timeouts: dict[int, Sequence[HandlerTimeout]], reader: str
) -> Generator[CompactSlice]:
    """Feed the inputs from the positions of the stages up to their present end, and yield what the stages write.

    `timeouts` are those of the stages. They are read here.
    """
    timeouts.update(recorded_timeouts(kafka))
    consumer = SharedConsumer(
        kafka.cluster, kafka.topic_prefix, DEFAULT_CODEC, reader, bounded=True, archive=kafka.archive
    )
    with closing(consumer):
        consumer.set_end(list(running.next_offsets()), ReplayEnd(end_of_logs=True))
        for external in running.external_readers():
            consumer.add(external)
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

    `later` are checkpoints by their time slice. The comparison ends at the first difference. A damaged checkpoint is
    not compared, and the result names it.
    """
    tally = ComparisonTally(checkpoint=start.checkpoint_id)
    for recorded, replayed in paired_slices_after(replay):
        ts_ns = max(recorded.ts_ns, replayed.ts_ns)
        if window.ends_before(ts_ns):
            break
        difference = _compare(recorded, replayed, window)
        if difference is None and replayed.ts_ns in later:
            difference = _compare_state(replay, later[replayed.ts_ns], tally)
        if difference is not None:
            return tally.result(difference)
        if window.contains(ts_ns):
            tally.add(recorded, TimeSlice(replayed.ts_ns, []))
            if tally.is_progress_due:
                progress(tally.result(None))
    return tally.result(None)


def paired_slices_after(replay: Replay) -> Iterator[tuple[TimeSlice, TimeSlice]]:
    """Yield each recorded time slice with the replayed one, to the end of the shorter run."""
    for recorded in replay.recorded:
        replayed = next(replay.replayed, None)
        if replayed is None:
            return
        outputs = [record for output in replayed.outputs for record in output.time_slice.records]
        yield recorded, TimeSlice(replayed.ts_ns, outputs)


def _compare(recorded: TimeSlice, replayed: TimeSlice, window: ReplayWindow) -> Difference | None:
    difference = compare_slices(recorded, replayed)
    if difference is not None and recorded.ts_ns == replayed.ts_ns and not window.contains(recorded.ts_ns):
        return None  # before the time from which on to compare
    return difference


def _compare_state(replay: Replay, checkpoint: LaterCheckpoint, tally: ComparisonTally) -> Difference | None:
    """Return the difference from the state in a checkpoint. Add the checkpoint to the compared or damaged ones.

    The same state can have another form in another release. A difference is then reported, and is not a finding.
    """
    try:
        expected = checkpoint.read()
    except BadInput as error:
        tally.damaged.append(str(error))
        return None
    text = first_state_difference(expected, replay.stages.snapshot())
    if text and checkpoint.other_release:
        log.warning(
            "the state of a checkpoint of another release has another form and is not compared",
            checkpoint=checkpoint.checkpoint_id,
            release=checkpoint.other_release,
            first_difference=text,
        )
        return None
    tally.checkpoints.append(checkpoint.checkpoint_id)
    if not text:
        return None
    return Difference(
        ts_ns=checkpoint.slice_ns,
        topic="",
        recorded=None,
        replayed=None,
        state=f"the state differs from {checkpoint.checkpoint_id}: {text}",
    )
