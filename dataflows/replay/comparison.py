"""Replay recorded inputs through the live stages and compare the outputs with the recording, slice by slice.

The comparison only reads, and its memory does not grow with the length of the runs. The stages are those of the
services and the backtest (`dataflows/runtime/stages.py`); their sources and sinks are iterators here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from configs.settings import Settings
from dataflows.replay.differences import Difference, derived_records, first_difference
from dataflows.replay.recorded_source import RecordedSource
from dataflows.replay.recording import INPUT_TOPICS, Recording
from dataflows.runtime import stages
from dataflows.runtime.configured_stage import ConfiguredStage, StageFactory
from operators.decision_hash import DecisionHash
from operators.stage import TimeSlice
from schemas.records import TOPIC_OF, Record

VERSION = 1
Progress = Callable[["ReplayComparison"], None]
_PROGRESS_SLICES = 500


class ReplayStage(Protocol):
    """A replayable stage: turns a time slice of inputs into the records that the services would write."""

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]: ...


class Pipeline:
    """All stages of the platform as one `Stage`: a time slice of external inputs in, every record that the services
    would write out. Unlike the backtest, it also emits the feature rows.
    """

    def __init__(self, settings: Settings) -> None:
        self._analysis = stages.analysis(settings)()
        self._decision_loop = stages.decision_loop(settings, with_idle=True)()

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        analysed = self._analysis.on_slice(ts_ns, records)
        return analysed[len(records) :] + self._decision_loop.on_slice(ts_ns, analysed)

    def snapshot(self) -> Any:
        return (VERSION, self._analysis.snapshot(), self._decision_loop.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, analysis_state, decision_state = snapshot
        assert version == VERSION, f"pipeline state of version {version}, expected {VERSION}"
        self._analysis.restore(analysis_state)
        self._decision_loop.restore(decision_state)


def configured_pipeline(settings: Settings, source: RecordedSource | None = None) -> ConfiguredStage:
    """Return all stages of the platform as one stage that applies the configurations in its time slices.

    By default, a configuration with source code that differs from the files of this host is refused with BadInput.
    """
    source = source or RecordedSource()
    return StageFactory(lambda current: lambda: Pipeline(current), settings, use_source=source.settings_for)()


class ReplayComparison(NamedTuple):
    """The extent and result of a comparison.

    `given` counts the input records and `records` the recorded outputs, by type. `difference` is None if all are equal.
    `first_ns` and `last_ns` are the first and last time slice compared, 0 if there was none. `from_checkpoint` is the
    checkpoint from which the replay started, "" without one. `checkpoints` are those whose state was compared.
    `damaged` has one sentence for each later checkpoint whose state cannot be read.
    """

    ticks: int
    first_ns: int
    last_ns: int
    given: dict[str, int]
    records: dict[str, int]
    decision_hash: str
    difference: Difference | None
    from_checkpoint: str = ""
    checkpoints: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the replay equals the recording and every checkpoint on its way."""
        return self.difference is None and not self.damaged


class ReplayWindow(NamedTuple):
    """The time slices to compare, both ends inclusive; None leaves an end open."""

    from_ns: int | None = None
    to_ns: int | None = None

    def contains(self, ts_ns: int) -> bool:
        return (self.from_ns is None or ts_ns >= self.from_ns) and not self.ends_before(ts_ns)

    def ends_before(self, ts_ns: int) -> bool:
        return self.to_ns is not None and ts_ns > self.to_ns


def compare(
    settings: Settings,
    recording: Recording,
    window: ReplayWindow | None = None,
    progress: Progress = lambda _: None,
    source: RecordedSource | None = None,
) -> ReplayComparison:
    """Replay the inputs from their beginning and compare the outputs, up to the last time slice that all derived topics
    have, or to the first difference. Each time slice is replayed with the recorded configuration that was in force, and
    with `settings` before the first configuration.

    `decision_hash` covers the recorded decisions compared. Over a whole recording it equals that of `verify` and
    `backtest`. Raises BadInput if the replay must not run recorded source code (`RecordedSource`).
    """
    window = window or ReplayWindow()
    tally = ComparisonTally()
    for recorded, replayed in paired_slices(configured_pipeline(settings, source), recording):
        ts_ns = max(recorded.ts_ns, replayed.ts_ns)
        if window.ends_before(ts_ns):
            break
        if not window.contains(ts_ns):
            continue
        difference = compare_slices(recorded, replayed)
        if difference is not None:
            return tally.result(difference)
        tally.add(recorded, replayed)
        if tally.is_progress_due:
            progress(tally.result(None))
    return tally.result(None)


def paired_slices(stage: ReplayStage, recording: Recording) -> Iterator[tuple[TimeSlice, TimeSlice]]:
    """Yield each recorded time slice with the replayed one. A replayed time slice also holds its inputs, first.

    Iteration ends with the shorter run, because a recording may end in the middle of a time slice. If the times of a
    pair differ, one run lacks a time slice and later slices cannot be paired, so that pair is the last.
    """
    inputs = iter(recording.inputs)
    for recorded in recording.derived:
        time_slice = next(inputs, None)
        if time_slice is None:
            return
        yield (
            recorded,
            TimeSlice(time_slice.ts_ns, [*time_slice.records, *stage.on_slice(time_slice.ts_ns, time_slice.records)]),
        )
        if time_slice.ts_ns != recorded.ts_ns:
            return


def compare_slices(recorded: TimeSlice, replayed: TimeSlice) -> Difference | None:
    """Compare the derived records of two time slices. Return None if they are equal."""
    if recorded.ts_ns < replayed.ts_ns:
        return Difference(
            ts_ns=recorded.ts_ns,
            topic="",
            recorded=None,
            replayed=None,
            missing_tick="recorded, but absent from the inputs",
        )
    if recorded.ts_ns > replayed.ts_ns:
        return Difference(
            ts_ns=replayed.ts_ns,
            topic="",
            recorded=None,
            replayed=None,
            missing_tick="in the inputs, but not recorded by any stage",
        )
    return first_difference(recorded.ts_ns, derived_records(recorded.records), derived_records(replayed.records))


class ComparisonTally:
    """Counts what was compared. `checkpoint` is that from which the replay started."""

    def __init__(self, checkpoint: str = "") -> None:
        self._from_checkpoint, self.checkpoints, self.damaged = checkpoint, list[str](), list[str]()
        self.slices = self._first_ns = self._last_ns = 0
        self._inputs: Counter[type] = Counter()
        self._records: Counter[type] = Counter()
        self._decision_hash = DecisionHash()

    @property
    def is_progress_due(self) -> bool:
        return self.slices % _PROGRESS_SLICES == 0

    def add(self, recorded: TimeSlice, replayed: TimeSlice) -> None:
        self.slices += 1
        self._first_ns = self._first_ns or recorded.ts_ns
        self._last_ns = recorded.ts_ns
        self._inputs.update(type(record) for record in replayed.records if TOPIC_OF[type(record)] in INPUT_TOPICS)
        self._records.update(type(record) for record in recorded.records)
        for record in recorded.records:
            self._decision_hash.add(record)

    def result(self, difference: Difference | None) -> ReplayComparison:
        return ReplayComparison(
            ticks=self.slices,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            given=_counts_by_name(self._inputs),
            records=_counts_by_name(self._records),
            decision_hash=self._decision_hash.hexdigest(),
            difference=difference,
            from_checkpoint=self._from_checkpoint,
            checkpoints=tuple(self.checkpoints),
            damaged=tuple(self.damaged),
        )


def _counts_by_name(counts: Counter[type]) -> dict[str, int]:
    return {
        record_type.__name__: counts[record_type]
        for record_type in sorted(counts, key=lambda record_type: record_type.__name__)
    }
