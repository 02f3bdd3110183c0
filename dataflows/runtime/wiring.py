"""How a stage becomes a dataflow: ticks in, the stage per shard, every sink behind it.

The flow and step names are keys of the recovery store: renaming one would orphan state (`tests/unit/test_step_ids.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink

from dataflows.runtime.topology import KEPT
from operators.stage import Stage, Tick
from schemas.records import UNTIMED, Record

VERSION = 1

TickSource = FixedPartitionedSource[Any, Any]
TickSink = FixedPartitionedSink[Any, Any]


class TickLogic(StatefulBatchLogic[list[Tick], list[Tick], Any]):
    """Runs a stage over the ticks of one shard. `resume` is None or an earlier `snapshot()`.

    Dead letters and late records that the reader met ride behind a tick's records and pass by the stage. `keep` names
    input record types that leave again with the stage's own, for a sink to store.
    """

    def __init__(self, stage: Stage, resume: Any, keep: tuple[type, ...] = ()) -> None:
        self._stage, self._keep = stage, keep
        if resume is not None:
            version, state = resume
            assert version == VERSION, f"logic state of version {version}, expected {VERSION}"
            stage.restore(state)

    def on_batch(self, values: list[list[Tick]]) -> tuple[list[list[Tick]], bool]:
        out = [[self._step(tick) for tick in ticks] for ticks in values]
        return out, StatefulBatchLogic.RETAIN

    def _step(self, tick: Tick) -> Tick:
        records = tick.records
        aside: list[Record] = []
        if records and type(records[-1]) in UNTIMED:
            aside = [record for record in records if type(record) in UNTIMED]
            records = records[: len(records) - len(aside)]
        if self._keep:
            aside += [record for record in records if type(record) in self._keep]
        made = self._stage.on_tick(tick.ts_ns, records)
        return Tick(tick.ts_ns, made + aside if aside else made)

    def on_eof(self) -> tuple[list[list[Tick]], bool]:
        # Nothing is flushed at the end of input: a restart goes on exactly here.
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return (VERSION, self._stage.snapshot())


def staged(
    service: str,
    make_stage: Callable[[], Stage],
    source: TickSource,
    sinks: Mapping[str, TickSink],
) -> Dataflow:
    """One service: source of `(shard, [Tick, ...])` -> its stage, an instance a shard -> each sink, by step name."""
    flow = Dataflow(service)
    ticks = op.input("ticks", flow, source)
    made = op.stateful_batch("stage", ticks, lambda resume: TickLogic(make_stage(), resume, KEPT.get(service, ())))
    for name, sink in sinks.items():
        op.output(name, made, sink)
    return flow


def unstaged(service: str, source: TickSource, sinks: Mapping[str, TickSink]) -> Dataflow:
    """A service whose source makes the records itself: a feed."""
    flow = Dataflow(service)
    ticks = op.input("ticks", flow, source)
    for name, sink in sinks.items():
        op.output(name, ticks, sink)
    return flow
