"""Turn a stage into a dataflow: a source of time slices, one stage instance per shard, then every sink.

Flow and step names are keys of the recovery store. Renaming one loses its state (`tests/unit/test_step_ids.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink

from dataflows.runtime.checkpoint_parts import ReaderCheckpoint, write_shard_part
from dataflows.runtime.topology import PASS_THROUGH
from operators.stage import Stage, TimeSlice
from schemas.records import UNCLOCKED_RECORDS, Record

VERSION = 1

SliceSource = FixedPartitionedSource[Any, Any]
SliceSink = FixedPartitionedSink[Any, Any]


class StageLogic(StatefulBatchLogic[list[TimeSlice], list[TimeSlice], Any]):
    """Runs a stage over the time slices of one shard. `resume` is None or an earlier `snapshot()`.

    The reader appends dead letters and late records to a time slice. They bypass the stage. Input records of the
    `pass_through` types are emitted with the stage's output, so that a sink can store them.
    """

    def __init__(self, stage: Stage, resume: Any, pass_through: tuple[type, ...] = ()) -> None:
        self.stage, self._pass_through = stage, pass_through
        if resume is not None:
            version, state = resume
            assert version == VERSION, f"stage state of version {version}, expected {VERSION}"
            stage.restore(state)

    def on_batch(self, values: list[list[TimeSlice]]) -> tuple[list[list[TimeSlice]], bool]:
        out = []
        for time_slices in values:
            outputs = []
            item: Any  # a live source also emits `ReaderCheckpoint`
            for item in time_slices:
                if type(item) is ReaderCheckpoint:
                    write_shard_part(item, self.snapshot())
                else:
                    outputs.append(self.run_slice(item))
            out.append(outputs)
        return out, StatefulBatchLogic.RETAIN

    def run_slice(self, time_slice: TimeSlice) -> TimeSlice:
        """Return the stage's output for one time slice, followed by the records that bypass the stage."""
        records = time_slice.records
        forwarded: list[Record] = []
        if records and type(records[-1]) in UNCLOCKED_RECORDS:
            forwarded = [record for record in records if type(record) in UNCLOCKED_RECORDS]
            records = records[: len(records) - len(forwarded)]
        if self._pass_through:
            forwarded += [record for record in records if type(record) in self._pass_through]
        outputs = self.stage.on_slice(time_slice.ts_ns, records)
        return TimeSlice(time_slice.ts_ns, outputs + forwarded if forwarded else outputs)

    def on_eof(self) -> tuple[list[list[TimeSlice]], bool]:
        # Nothing is flushed at the end of input: a restart continues exactly here.
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return (VERSION, self.stage.snapshot())


def build_stage_flow(
    service: str,
    make_stage: Callable[[], Stage],
    source: SliceSource,
    sinks: Mapping[str, SliceSink],
) -> Dataflow:
    """Build the flow of one service.

    The source emits `(shard, [TimeSlice, ...])`. Each shard has its own stage instance. `sinks` maps step names to
    sinks.
    """
    flow = Dataflow(service)
    time_slices = op.input("ticks", flow, source)
    outputs = op.stateful_batch(
        "stage", time_slices, lambda resume: StageLogic(make_stage(), resume, PASS_THROUGH.get(service, ()))
    )
    for name, sink in sinks.items():
        op.output(name, outputs, sink)
    return flow


def build_feed_flow(service: str, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Build the flow of a service whose source creates the records: a feed."""
    flow = Dataflow(service)
    time_slices = op.input("ticks", flow, source)
    for name, sink in sinks.items():
        op.output(name, time_slices, sink)
    return flow
