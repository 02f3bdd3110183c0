"""Each dataflow alone writes its recorded output from its recorded inputs.

This holds for any batch size, a crash after each time slice and any number of workers.
"""

from __future__ import annotations

import importlib
import json
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from bytewax.testing import cluster_main, run_main

from configs.settings import Settings
from dataflows import market_data
from dataflows.research.shard_merge import ShardMerge
from dataflows.runtime import stages, topology
from dataflows.runtime.wiring import StageLogic
from dataflows.sources.feed_selection import files_source
from dataflows.sources.file_feed import FileFeed
from operators.alignment import AlignedLogs
from operators.performance import Performance
from operators.stage import TimeSlice
from schemas.records import TOPIC_OF, Clock, DeadLetter
from schemas.records.prose import comparable as comparable_record
from tests.replay import recorded
from tests.replay.memory_connectors import MemorySink, MemorySource
from tests.replay.runs import backtest_summary, pinned_settings, read_time_slices

STAGED = topology.STAGED_SERVICES
BATCHES = (1, 7, 1000)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return pinned_settings()


def shards(service: str) -> list[str]:
    return topology.shards(service, recorded.PARTITIONS)


def make_reader(service: str, shard: str, start: Any = None) -> AlignedLogs:
    return AlignedLogs(service, topology.input_logs(service, shard, recorded.PARTITIONS), start)


def make_logic(service: str, settings: Settings, snapshot: Any = None) -> StageLogic:
    return StageLogic(getattr(stages, service)(settings)(), snapshot, topology.PASS_THROUGH.get(service, ()))


def read_slices(reader: AlignedLogs, batch: int, slices_max: int | None = None) -> list[TimeSlice]:
    """Feed all inputs in turn from the reader's position, `batch` messages at a time. Return the time slices."""
    next_offsets = reader.next_offsets()
    out: list[TimeSlice] = []
    progressed = True
    while progressed and (slices_max is None or len(out) < slices_max):
        progressed = False
        for (topic, partition), offset in next_offsets.items():
            messages = recorded.log(topic, partition)[offset : offset + batch]
            reader.feed(topic, partition, list(enumerate(messages, offset)))
            next_offsets[topic, partition] = offset + len(messages)
            progressed = progressed or bool(messages)
        if slices_max is None:
            out += reader.take_slices(batch)
        else:
            out += reader.take_slices(1)[: slices_max - len(out)]
    return out + (reader.take_slices(1_000_000) if slices_max is None else [])


def recorded_output(service: str, shard: str) -> list[TimeSlice]:
    """Return the recorded output by clock: the records that each clock covers, in stage order within each topic."""
    records_by_ts: dict[int, list[Any]] = {}
    for topic, partition in topology.clocked_logs(service, shard, recorded.PARTITIONS):
        pending: list[Any] = []
        for record in recorded.log(topic, partition):
            if type(record) is Clock:
                records_by_ts.setdefault(record.ts_ns, []).extend(pending)
                pending = []
            else:
                pending.append(record)
        assert not pending, "a log ends with a clock"
    return [TimeSlice(ts_ns, _comparable(records_by_ts[ts_ns])) for ts_ns in sorted(records_by_ts)]


def _comparable(records: Sequence[Any]) -> list[Any]:
    """Sort the records by topic. Remove the texts that a release may reword."""
    return [comparable_record(record) for record in _by_topic(records)]


def _by_topic(records: Sequence[Any]) -> list[Any]:
    """Sort by topic and partition, because order is defined only within a partition."""
    return sorted(records, key=lambda r: (TOPIC_OF[type(r)], getattr(r, "symbol", "") if _sharded(r) else ""))


def _sharded(record: Any) -> bool:
    return TOPIC_OF[type(record)] in topology.SYMBOL_TOPICS


def comparable(time_slices: Sequence[TimeSlice], service: str) -> list[TimeSlice]:
    outputs = topology.SERVICES[service].outputs
    return [
        TimeSlice(t.ts_ns, _comparable([r for r in t.records if TOPIC_OF[type(r)] in outputs])) for t in time_slices
    ]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("service", STAGED)
def test_any_batch_size_gives_the_recorded_output(service: str, batch: int, settings: Settings) -> None:
    for shard in shards(service):
        time_slices = read_slices(make_reader(service, shard), batch)
        stage, output = make_logic(service, settings), []
        for i in range(0, len(time_slices), batch):
            output += stage.on_batch([time_slices[i : i + batch]])[0][0]
        assert comparable(output, service) == recorded_output(service, shard)


@pytest.mark.parametrize("service", STAGED)
def test_a_crash_after_each_time_slice_gives_the_recorded_output(service: str, settings: Settings) -> None:
    for shard in shards(service):
        expected = recorded_output(service, shard)
        snapshot: Any = pickle.dumps((None, None))
        output: list[TimeSlice] = []
        while len(output) < len(expected):
            # Run twice from the same snapshot. The first run crashes after its output and before its snapshot.
            attempts = [_process_one_slice(service, shard, settings, snapshot) for _ in range(2)]
            assert attempts[0][0] == attempts[1][0], "what is written again after a crash is what was written before"
            assert attempts[0][1] == attempts[1][1]
            output.append(attempts[0][0])
            snapshot = attempts[0][1]
        assert comparable(output, service) == expected


def _process_one_slice(service: str, shard: str, settings: Settings, snapshot: bytes) -> tuple[TimeSlice, bytes]:
    reader_state, stage_state = pickle.loads(snapshot)  # noqa: S301  (our own, made by the test)
    reader, stage = make_reader(service, shard, reader_state), make_logic(service, settings, stage_state)
    [[output]], _ = stage.on_batch([read_slices(reader, 7, slices_max=1)])
    return output, pickle.dumps((reader.snapshot(), stage.snapshot()))


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("service", STAGED)
def test_any_number_of_workers_gives_the_recorded_output(service: str, workers: int, settings: Settings) -> None:
    time_slices = {shard: read_slices(make_reader(service, shard), 50) for shard in shards(service)}
    sink = MemorySink(shards(service))
    build = importlib.import_module(f"dataflows.{service}").build
    cluster_main(build(settings, MemorySource(time_slices, 7), {"memory": sink}), [], 0, worker_count_per_proc=workers)
    for shard, output in sink.time_slices.items():
        assert comparable(output, service) == recorded_output(service, shard)


@pytest.mark.parametrize("batch", BATCHES)
def test_the_feed_gives_the_recorded_bars_in_any_batch_size(batch: int, settings: Settings) -> None:
    sink = MemorySink([topology.FEED_SHARD])
    source = files_source(settings.market_data.files, [recorded.BARS], batch_slices=batch)
    run_main(market_data.build(settings, source, {"memory": sink}))
    assert_recorded_feed(sink.time_slices[topology.FEED_SHARD])


def test_a_feed_that_crashes_after_each_time_slice_gives_the_recorded_bars(settings: Settings) -> None:
    state: Any = None
    output: list[TimeSlice] = []
    while True:
        feed = FileFeed([recorded.BARS], settings.market_data.files).resume(state)
        time_slices = feed.take(1)
        if not time_slices:
            break
        output += time_slices
        state = pickle.loads(pickle.dumps(feed.state()))  # noqa: S301  (our own, made here)
    assert_recorded_feed(output)


def assert_recorded_feed(output: list[TimeSlice]) -> None:
    dead_letters = [record for time_slice in output for record in time_slice.records if type(record) is DeadLetter]
    assert dead_letters == recorded.log("dead-letters", 0)
    recorded_slices = recorded_output("market_data", topology.FEED_SHARD)
    assert comparable(_without(output, DeadLetter), "market_data") == [
        TimeSlice(t.ts_ns, [r for r in t.records if TOPIC_OF[type(r)] != "commands"]) for t in recorded_slices
    ]


def _without(time_slices: Sequence[TimeSlice], record_type: type) -> list[TimeSlice]:
    return [TimeSlice(t.ts_ns, [r for r in t.records if type(r) is not record_type]) for t in time_slices]


@pytest.mark.parametrize("options", [{"batch_slices": 1}, {"batch_slices": 1000}, {"workers": 2}, {"workers": 3}])
def test_the_backtest_gives_the_recorded_summary(options: dict[str, Any]) -> None:
    assert backtest_summary(**options) == json.loads(recorded.SUMMARY.read_text())


def test_a_backtest_that_crashes_after_each_time_slice_gives_the_recorded_decisions(settings: Settings) -> None:
    snapshot: Any = pickle.dumps((None, None))
    performance = Performance(settings.portfolio_manager.initial_capital)
    for time_slice in read_time_slices([recorded.BARS]):
        analysis, trading = pickle.loads(snapshot)  # noqa: S301  (our own, made here)
        chain = StageLogic(stages.analysis(settings)(), analysis)
        loop = ShardMerge(1, stages.decision_loop(settings)(), trading)
        [analysed], _ = chain.on_batch([[time_slice]])
        [[traded]], _ = loop.on_batch([("0", analysed)])
        performance.on_slice(traded)
        snapshot = pickle.dumps((chain.snapshot(), loop.snapshot()))
    assert performance.summary() == json.loads(recorded.SUMMARY.read_text())


def test_the_recorded_run_covers_orders_fills_refusals_and_a_halt() -> None:
    """The recorded run contains orders, fills of both sides, several refusal reasons, a halt, an exit and a bad row."""
    orders = recorded.log("orders", 0)
    assert {record.state for record in orders if type(record).__name__ == "RiskFence"} == {"HALTED", "ACTIVE"}
    assert {fill.side for fill in recorded.log("executions", 0) if type(fill) is not Clock} == {"BUY", "SELL"}
    refused_checks = {refusal.check for refusal in recorded.log("order-refusals", 0) if type(refusal) is not Clock}
    assert {"kill_switch", "max_position"} <= refused_checks
    assert any(type(record).__name__ == "LotMatch" for record in recorded.log("positions", 0))
    assert len(recorded.log("dead-letters", 0)) == 2
