"""Write a recovery store from the topics: the state that the service had after the last time slice that it wrote.

The service's own stage replays its inputs up to that time slice. Every record that it writes must equal the recorded
one, apart from explanations in words. Counters, ids and books therefore continue exactly where the log ends: nothing is
written twice, and readers discard nothing as a duplicate. Bytewax writes the store, with the service's step names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from sys import maxsize
from typing import Any, NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig
from bytewax.testing import run_main

from configs.settings import KafkaSection, Settings
from dataflows.replay.log_beginnings import require_beginnings
from dataflows.replay.recorded_log import RebuildStart, last_clock_ns, last_common_clock_ns, unique_records
from dataflows.replay.recorded_source import RecordedSource
from dataflows.replay.recording import TRADES_TOPIC, has_clock, read_topics
from dataflows.runtime import stages, topology
from dataflows.runtime.configured_stage import MakeStage, StageFactory
from dataflows.runtime.handler_timeouts import TOPIC as HANDLER_TIMEOUTS
from dataflows.runtime.handler_timeouts import StageWithTimeouts, recorded_timeouts
from dataflows.runtime.repeated_records import decision_fields
from dataflows.runtime.wiring import build_stage_flow
from dataflows.sources.feed_selection import platform_feed
from dataflows.sources.feed_source import STATE_VERSION, MarketFeed
from dataflows.sources.kafka import KafkaSliceSource, ShardPartition
from dataflows.sources.market.clock_recovery import read_feed_history
from dataflows.sources.shared_consumer import ReplayEnd
from operators.alignment import AlignedLogs
from operators.bar_completion import SNAPSHOT_VERSION
from operators.partitions import partition_of
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.log_names import LogName
from schemas.records import BY_SYMBOL, TOPIC_OF, Bar, Record, Trade

_EPOCH = timedelta(seconds=1)


class Rebuilt(NamedTuple):
    """The last time slice of the state, and the number of records that were compared with the recorded ones."""

    last_slice_ns: int
    records: int


def rebuild_store(
    settings: Settings,
    service: str,
    shards: Sequence[str],
    target: Path,
    *,
    until_ns: int | None = None,
    recorded_source: RecordedSource | None = None,
    start: RebuildStart | None = None,
) -> Rebuilt:
    """Write the state of these shards into the store `target`, as of the last time slice in all their topics or, if
    that is earlier, `until_ns`. The store is new and empty or, with `start`, holds the states of `start`.

    Raises BadInput if the replay differs from the recording or the inputs end too early, with the first difference, or
    if it must not run recorded source code (`RecordedSource`), and Unavailable if the topics cannot be read.
    """
    if service == "market_data":
        return _rebuild_feed(settings, target)
    outputs = [
        log for shard in shards for log in topology.clocked_logs(service, shard, settings.kafka.symbol_partitions)
    ]
    last_slice_ns = last_common_slice_ns(settings.kafka, outputs)
    if until_ns is not None:
        last_slice_ns = min(last_slice_ns, until_ns)
    if last_slice_ns < 0:
        return Rebuilt(-1, 0)
    if start is None:
        require_beginnings(settings.kafka, service, shards)
    comparison = _RecordedOutputs(settings.kafka, outputs, last_slice_ns, start)
    unread = stages.unread_topics(settings) if service == "strategies" else frozenset[str]()
    source = _BoundedSource(settings, service, shards, last_slice_ns, unread)
    make: MakeStage = getattr(stages, service)
    if HANDLER_TIMEOUTS in topology.SERVICES[service].unclocked:
        make = StageWithTimeouts.under_settings(make, recorded_timeouts(settings.kafka))
    make_stage = StageFactory(make, settings, use_source=(recorded_source or RecordedSource()).settings_for)
    flow = build_stage_flow(service, make_stage, source, {"kafka": _ComparingSink(comparison, shards)})
    run_with_store(flow, target)
    if comparison.difference:
        raise BadInput(comparison.difference)
    if source.reached_ns() < last_slice_ns:
        raise BadInput(
            f"the inputs of {service} end at {source.reached_ns()}, before its last time slice {last_slice_ns}; "
            "restore the topics from a backup"
        )
    return Rebuilt(last_slice_ns, comparison.compared)


def last_common_slice_ns(kafka: KafkaSection, logs: Sequence[LogName]) -> int:
    """Return the last time slice that is in all these logs, -1 if there is none."""
    return last_common_clock_ns({log: last_clock_ns(kafka, *log) for log in logs})


def run_with_store(flow: Dataflow, target: Path, epoch: timedelta = _EPOCH) -> None:
    """Run a flow that writes the recovery store `target`, and return when it has ended."""
    run_main(flow, epoch_interval=epoch, recovery_config=RecoveryConfig(target, timedelta(0)))


# -- a service that runs a stage ---------------------------------------------------------------------------------------


class _BoundedPartition(ShardPartition):
    """Stops after the last time slice like a service after SIGTERM: with a snapshot, and nothing to replay."""

    finished = False

    def next_batch(self) -> list[tuple[str, list[TimeSlice]]]:
        try:
            return super().next_batch()
        except StopIteration:
            self.finished = True
            return []

    @property
    def reached_ns(self) -> int:
        return self._reader.passed_ns


class _BoundedSource(KafkaSliceSource):
    def __init__(
        self, settings: Settings, service: str, shards: Sequence[str], last_slice_ns: int, unread: Collection[str]
    ) -> None:
        kafka = settings.kafka
        self._bounded: list[_BoundedPartition] = []
        super().__init__(
            kafka.cluster,
            service,
            {shard: topology.input_logs(service, shard, kafka.symbol_partitions, unread) for shard in shards},
            prefix=kafka.topic_prefix,
            until=ReplayEnd(ts_ns=last_slice_ns, end_of_logs=True),
            archive=kafka.archive,
            stop_requested=lambda: all(partition.finished for partition in self._bounded),
            wait_s=0.05,
            limits=settings.platform.dead_letters.limits_for(service),
            read_released_ns=lambda: maxsize,
        )

    def _partition(self, name: str, reader: AlignedLogs, consumer: Any, rate_state: Any) -> ShardPartition:
        self._bounded.append(_BoundedPartition(name, reader, consumer, self, rate_state))
        return self._bounded[-1]

    def reached_ns(self) -> int:
        """Return the last time slice that every shard has reached."""
        return min(partition.reached_ns for partition in self._bounded)


class _RecordedOutputs:
    """Compares replayed records with the recorded ones, log by log. Recorded duplicates are skipped by their `seq`.

    `difference` describes the first difference, or is an empty string.
    """

    def __init__(
        self, kafka: KafkaSection, logs: Sequence[LogName], last_slice_ns: int, start: RebuildStart | None
    ) -> None:
        self._partitions = kafka.symbol_partitions
        self._recorded = {log: unique_records(kafka, *log, last_slice_ns, start) for log in logs}
        self._topics = {topic for topic, _ in logs}
        self.difference, self.compared = "", 0

    def compare(self, record: Record) -> None:
        topic = TOPIC_OF[type(record)]
        if self.difference or topic not in self._topics:
            return
        by_symbol = type(record) in BY_SYMBOL
        partition = partition_of(record.symbol, self._partitions) if by_symbol else 0  # type: ignore[union-attr]
        recorded = next(self._recorded[topic, partition], None)
        self.compared += 1
        if recorded is None or decision_fields(recorded) != decision_fields(record):
            self.difference = (
                f"the replay differs from topic {topic}/{partition}: recorded {recorded}, replayed {record}; the "
                "settings are not those of the recording (see `python cli.py replay-check`); restore a backup instead"
            )


class _ComparingPartition(StatefulSinkPartition[list[TimeSlice], None]):
    def __init__(self, comparison: _RecordedOutputs) -> None:
        self._comparison = comparison

    def write_batch(self, values: list[list[TimeSlice]]) -> None:
        for time_slices in values:
            for time_slice in time_slices:
                for record in time_slice.records:
                    self._comparison.compare(record)

    def snapshot(self) -> None:
        return None


class _ComparingSink(FixedPartitionedSink[list[TimeSlice], None]):
    def __init__(self, comparison: _RecordedOutputs, shards: Sequence[str]) -> None:
        self._comparison, self._shards = comparison, list(shards)

    def list_parts(self) -> list[str]:
        return self._shards

    def part_fn(self, item_key: str) -> int:
        return sorted(self._shards).index(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _ComparingPartition:
        return _ComparingPartition(self._comparison)


# -- the feed ----------------------------------------------------------------------------------------------------------


class _StatePartition(StatefulSourcePartition[Any, dict[str, Any]]):
    def __init__(self, state: dict[str, Any]) -> None:
        self._state, self._snapshot_taken = state, False

    def next_batch(self) -> list[Any]:
        if self._snapshot_taken:
            raise AbortExecution
        return []

    def snapshot(self) -> dict[str, Any]:
        self._snapshot_taken = True
        return self._state


class _StateSource(FixedPartitionedSource[Any, dict[str, Any]]):
    """Emits nothing and stores a state."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def list_parts(self) -> list[str]:
        return [topology.FEED_SHARD]

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> _StatePartition:
        return _StatePartition(self._state)


class _NoSink(FixedPartitionedSink[Any, None]):
    def list_parts(self) -> list[str]:
        return [topology.FEED_SHARD]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[Any, None]:
        raise AssertionError("the source emits no item")


def _rebuild_feed(settings: Settings, target: Path) -> Rebuilt:
    last_bars: dict[str, Bar] = {}
    clock_ns, count = -1, 0
    logs = topology.clocked_logs("market_data", topology.FEED_SHARD, settings.kafka.symbol_partitions)
    # A feed that was killed may have written its last clocks to some topics only. The feed writes these again.
    until_ns = last_common_clock_ns({log: last_clock_ns(settings.kafka, *log) for log in logs})
    until = ReplayEnd(ts_ns=until_ns, end_of_logs=True)
    with closing(read_topics(settings.kafka, "rebuild", ["market-bars"], until=until)) as time_slices:
        for time_slice in time_slices:
            clock_ns = time_slice.ts_ns
            for record in time_slice.records:
                if type(record) is Bar:
                    last_bars[record.symbol] = record
                    count += 1
    if clock_ns < 0:
        return Rebuilt(-1, 0)
    minutes = {
        "v": SNAPSHOT_VERSION,
        "symbols": {symbol: (bar.seq, bar.close) for symbol, bar in sorted(last_bars.items())},
    }
    feed = platform_feed(settings).open_feed()
    kind = type(feed).__name__
    state = {
        "v": STATE_VERSION,
        "kind": kind,
        "feed": _FEED_STATES[kind](settings, feed, minutes, clock_ns),
        "last_tick_ns": clock_ns,
    }
    flow = Dataflow("market_data")
    op.output("kafka", op.input("ticks", flow, _StateSource(state)), _NoSink())
    run_with_store(flow, target)
    return Rebuilt(clock_ns, count)


def _simulator_state(settings: Settings, feed: MarketFeed, minutes: dict[str, Any], clock_ns: int) -> dict[str, Any]:
    trades = _trade_seqs(settings, clock_ns)
    return {**feed.state(), "next_open": clock_ns, "minutes": minutes} | ({"trades": trades} if trades else {})


def _trade_seqs(settings: Settings, clock_ns: int) -> dict[str, int]:
    """Return the `seq` of each symbol's last trade up to a time slice. The simulator repeats the later ones."""
    seqs: dict[str, int] = {}
    if has_clock(settings.kafka, TRADES_TOPIC):
        until = ReplayEnd(ts_ns=clock_ns, end_of_logs=True)
        with closing(read_topics(settings.kafka, "rebuild", [TRADES_TOPIC], until=until)) as time_slices:
            for time_slice in time_slices:
                seqs |= {record.symbol: record.seq for record in time_slice.records if type(record) is Trade}
    return seqs


def _file_state(settings: Settings, feed: MarketFeed, minutes: dict[str, Any], clock_ns: int) -> dict[str, Any]:
    """Read the files again up to the last recorded minute. Raises BadInput if their bars differ from the recording."""
    last_ns = -1
    while last_ns < clock_ns and (time_slices := feed.take(1)):
        last_ns = time_slices[0].ts_ns
    state = feed.state()
    if last_ns != clock_ns or state["minutes"]["symbols"] != minutes["symbols"]:
        raise BadInput(
            "the bar files differ from topic market-bars; start with the files of the recording, or restore a backup"
        )
    return state


def _live_state(settings: Settings, feed: MarketFeed, minutes: dict[str, Any], clock_ns: int) -> dict[str, Any]:
    """Read the `seq` of quotes, trades and history bars from the topics of the feed."""
    topics = read_feed_history(settings.kafka, clock_ns)
    return {
        **feed.state(),
        "clock_ns": clock_ns,
        "minutes": minutes,
        "quotes": topics.quotes,
        "trades": topics.trades,
        "history": topics.history,
        "offsets": topics.ends,
    }


_FEED_STATES: Mapping[str, Callable[[Settings, MarketFeed, dict[str, Any], int], dict[str, Any]]] = {
    "Simulator": _simulator_state,
    "FileFeed": _file_state,
    "LiveFeed": _live_state,
}
