"""Recorded topics -> the live stages, fused -> compared with what was recorded, tick by tick.

Nothing of the platform is touched: both runs are read, neither is written, and memory does not grow with their length.
The stages are those of the services and of the backtest (`dataflows/runtime/stages.py`); their ends are iterators here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from configs.settings import Settings
from dataflows.replay.differences import Difference, derived, first_difference
from dataflows.replay.recording import GIVEN, Recording
from dataflows.runtime import stages
from operators.decision_hash import Decisions
from operators.stage import Tick
from schemas.records import TOPIC_OF, Record

VERSION = 1
Progress = Callable[["Compared"], None]
_PROGRESS_TICKS = 500


class Deciding(Protocol):
    """What is replayed: anything that turns a tick of inputs into what the services would write."""

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]: ...


class Pipeline:
    """All stages of the platform as one: what edges wrote in a tick in, every record that the services would write
    out. A `Stage`; unlike the backtest it gives the feature rows too.
    """

    def __init__(self, settings: Settings) -> None:
        self._analysis, self._deciding = stages.analysis(settings)(), stages.deciding(settings)()

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        analysed = self._analysis.on_tick(ts_ns, records)
        return analysed[len(records) :] + self._deciding.on_tick(ts_ns, analysed)

    def snapshot(self) -> Any:
        return (VERSION, self._analysis.snapshot(), self._deciding.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, analysis, deciding = snapshot
        assert version == VERSION, f"pipeline state of version {version}, expected {VERSION}"
        self._analysis.restore(analysis)
        self._deciding.restore(deciding)


class Compared(NamedTuple):
    """How far two runs were compared. `records` counts by type; `difference` is None while all were the same.

    `first_ns` and `last_ns` are the first and last tick compared, 0 where there was none.
    """

    ticks: int
    first_ns: int
    last_ns: int
    given: dict[str, int]
    records: dict[str, int]
    decision_hash: str
    difference: Difference | None


class Window(NamedTuple):
    """The ticks to compare, both ends included; None is open."""

    from_ns: int | None = None
    to_ns: int | None = None

    def has(self, ts_ns: int) -> bool:
        return (self.from_ns is None or ts_ns >= self.from_ns) and not self.is_past(ts_ns)

    def is_past(self, ts_ns: int) -> bool:
        return self.to_ns is not None and ts_ns > self.to_ns


def compare(
    settings: Settings, runs: Recording, window: Window | None = None, progress: Progress = lambda _: None
) -> Compared:
    """Replay what was given from its beginning and compare with what was derived, up to the last tick that all derived
    topics have, or to the first difference.

    The hash is over the recorded decisions compared: that of `verify` and `backtest` where everything is.
    """
    window = window or Window()
    tally = _Tally()
    for recorded, replayed in side_by_side(Pipeline(settings), runs):
        at = max(recorded.ts_ns, replayed.ts_ns)
        if window.is_past(at):
            break
        if not window.has(at):
            continue
        difference = _difference(recorded, replayed)
        if difference is not None:
            return tally.result(difference)
        tally.add(recorded, replayed)
        if tally.ticks % _PROGRESS_TICKS == 0:
            progress(tally.result(None))
    return tally.result(None)


def side_by_side(pipeline: Deciding, runs: Recording) -> Iterator[tuple[Tick, Tick]]:
    """Each recorded tick with the replayed one. A replayed tick holds what was given as well, in front.

    Ends with the shorter run: the recorded one may end in the middle of a tick. Where the times of a pair differ, one
    of the runs lacks a tick; nothing behind it fits together, so that pair is the last.
    """
    given = iter(runs.given)
    for recorded in runs.derived:
        tick = next(given, None)
        if tick is None:
            return
        yield recorded, Tick(tick.ts_ns, [*tick.records, *pipeline.on_tick(tick.ts_ns, tick.records)])
        if tick.ts_ns != recorded.ts_ns:
            return


def _difference(recorded: Tick, replayed: Tick) -> Difference | None:
    if recorded.ts_ns < replayed.ts_ns:
        return Difference(recorded.ts_ns, "", None, None, missing_tick="recorded, but the inputs have no such tick")
    if recorded.ts_ns > replayed.ts_ns:
        return Difference(replayed.ts_ns, "", None, None, missing_tick="in the inputs, but no stage recorded it")
    return first_difference(recorded.ts_ns, derived(recorded.records), derived(replayed.records))


class _Tally:
    def __init__(self) -> None:
        self.ticks = self._first_ns = self._last_ns = 0
        self._given: Counter[type] = Counter()
        self._records: Counter[type] = Counter()
        self._decisions = Decisions()

    def add(self, recorded: Tick, replayed: Tick) -> None:
        self.ticks += 1
        self._first_ns = self._first_ns or recorded.ts_ns
        self._last_ns = recorded.ts_ns
        self._given.update(type(record) for record in replayed.records if TOPIC_OF[type(record)] in GIVEN)
        self._records.update(type(record) for record in recorded.records)
        for record in recorded.records:
            self._decisions.add(record)

    def result(self, difference: Difference | None) -> Compared:
        return Compared(
            self.ticks,
            self._first_ns,
            self._last_ns,
            _by_name(self._given),
            _by_name(self._records),
            self._decisions.hexdigest(),
            difference,
        )


def _by_name(counts: Counter[type]) -> dict[str, int]:
    return {kind.__name__: counts[kind] for kind in sorted(counts, key=lambda kind: kind.__name__)}
