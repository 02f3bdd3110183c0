"""Each dataflow alone on its recorded inputs gives its recorded output: any batch size, a crash after each tick, any
number of workers.
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
from dataflows import backtest, market_data
from dataflows.runtime import stages, topology
from dataflows.runtime.wiring import TickLogic
from dataflows.sources.files import FileFeed
from dataflows.sources.from_settings import files_source
from operators.alignment import AlignedLogs
from operators.performance import Performance
from operators.stage import Tick
from schemas.records import TOPIC_OF, Clock, DeadLetter
from tests.replay import recorded
from tests.replay.ends import Collected, TapeSource
from tests.replay.runs import backtest_summary, feed_ticks, settings

STAGED = topology.STAGED
BATCHES = (1, 7, 1000)


@pytest.fixture(scope="module")
def decided() -> Settings:
    return settings()


def shards(service: str) -> list[str]:
    return topology.shards(service, recorded.PARTITIONS)


def reader(service: str, shard: str, start: Any = None) -> AlignedLogs:
    return AlignedLogs(service, topology.logs(service, shard, recorded.PARTITIONS), start)


def logic(service: str, decided: Settings, resume: Any = None) -> TickLogic:
    return TickLogic(getattr(stages, service)(decided)(), resume, topology.KEPT.get(service, ()))


def read(reading: AlignedLogs, batch: int, most: int | None = None) -> list[Tick]:
    """Feed all inputs, `batch` messages of each in turn, from where the reader stands; take ticks on the way."""
    at = reading.next_offsets()
    out: list[Tick] = []
    fed = True
    while fed and (most is None or len(out) < most):
        fed = False
        for (topic, partition), offset in at.items():
            messages = recorded.log(topic, partition)[offset : offset + batch]
            reading.feed(topic, partition, list(enumerate(messages, offset)))
            at[topic, partition] = offset + len(messages)
            fed = fed or bool(messages)
        if most is None:
            out += reading.ticks(batch)
        else:
            out += reading.ticks(1)[: most - len(out)]
    return out + (reading.ticks(1_000_000) if most is None else [])


def golden(service: str, shard: str) -> list[Tick]:
    """The recorded output as ticks: what each clock covers, in the order in which the stage gave it by topic."""
    found: dict[int, list[Any]] = {}
    for topic, partition in topology.clocked(service, shard, recorded.PARTITIONS):
        waiting: list[Any] = []
        for record in recorded.log(topic, partition):
            if type(record) is Clock:
                found.setdefault(record.ts_ns, []).extend(waiting)
                waiting = []
            else:
                waiting.append(record)
        assert not waiting, "a log ends with a clock"
    return [Tick(ts_ns, _by_topic(found[ts_ns])) for ts_ns in sorted(found)]


def _by_topic(records: Sequence[Any]) -> list[Any]:
    """Across topics and partitions there is no order; inside one there is."""
    return sorted(records, key=lambda r: (TOPIC_OF[type(r)], getattr(r, "symbol", "") if _sharded(r) else ""))


def _sharded(record: Any) -> bool:
    return TOPIC_OF[type(record)] in topology.SYMBOL_TOPICS


def comparable(ticks: Sequence[Tick], service: str) -> list[Tick]:
    outputs = topology.SERVICES[service].outputs
    return [Tick(t.ts_ns, _by_topic([r for r in t.records if TOPIC_OF[type(r)] in outputs])) for t in ticks]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("service", STAGED)
def test_any_batch_size_gives_the_recorded_output(service: str, batch: int, decided: Settings) -> None:
    for shard in shards(service):
        ticks = read(reader(service, shard), batch)
        stage, made = logic(service, decided), []
        for i in range(0, len(ticks), batch):
            made += stage.on_batch([ticks[i : i + batch]])[0][0]
        assert comparable(made, service) == golden(service, shard)


@pytest.mark.parametrize("service", STAGED)
def test_a_crash_after_each_tick_gives_the_recorded_output(service: str, decided: Settings) -> None:
    for shard in shards(service):
        expected = golden(service, shard)
        saved: Any = pickle.dumps((None, None))
        made: list[Tick] = []
        while len(made) < len(expected):
            # Twice from the same snapshot: the first time dies before its snapshot, with its output in the log.
            again = [_one_tick(service, shard, decided, saved) for _ in range(2)]
            assert again[0][0] == again[1][0], "what is written again after a crash is what was written before"
            assert again[0][1] == again[1][1]
            made.append(again[0][0])
            saved = again[0][1]
        assert comparable(made, service) == expected


def _one_tick(service: str, shard: str, decided: Settings, saved: bytes) -> tuple[Tick, bytes]:
    of_reader, of_stage = pickle.loads(saved)  # noqa: S301  (our own, made by the test)
    reading, stage = reader(service, shard, of_reader), logic(service, decided, of_stage)
    [[made]], _ = stage.on_batch([read(reading, 7, most=1)])
    return made, pickle.dumps((reading.snapshot(), stage.snapshot()))


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("service", STAGED)
def test_any_number_of_workers_gives_the_recorded_output(service: str, workers: int, decided: Settings) -> None:
    ticks = {shard: read(reader(service, shard), 50) for shard in shards(service)}
    sink = Collected(shards(service))
    build = importlib.import_module(f"dataflows.{service}").build
    cluster_main(build(decided, TapeSource(ticks, 7), {"memory": sink}), [], 0, worker_count_per_proc=workers)
    for shard, made in sink.ticks.items():
        assert comparable(made, service) == golden(service, shard)


@pytest.mark.parametrize("batch", BATCHES)
def test_the_feed_gives_the_recorded_bars_in_any_batch_size(batch: int, decided: Settings) -> None:
    sink = Collected([topology.FEED])
    source = files_source(decided.market_data.files, [recorded.BARS], batch_ticks=batch)
    run_main(market_data.build(decided, source, {"memory": sink}))
    assert_recorded_feed(sink.ticks[topology.FEED])


def test_a_feed_that_crashes_after_each_tick_gives_the_recorded_bars(decided: Settings) -> None:
    state: Any = None
    made: list[Tick] = []
    while True:
        feed = FileFeed([recorded.BARS], decided.market_data.files.reading()).resume(state)
        ticks = feed.take(1)
        if not ticks:
            break
        made += ticks
        state = pickle.loads(pickle.dumps(feed.state()))  # noqa: S301  (our own, made here)
    assert_recorded_feed(made)


def assert_recorded_feed(made: list[Tick]) -> None:
    dead = [record for tick in made for record in tick.records if type(record) is DeadLetter]
    assert dead == recorded.log("dead-letters", 0)
    commands = golden("market_data", topology.FEED)
    assert comparable(_without(made, DeadLetter), "market_data") == [
        Tick(t.ts_ns, [r for r in t.records if TOPIC_OF[type(r)] != "commands"]) for t in commands
    ]


def _without(ticks: Sequence[Tick], kind: type) -> list[Tick]:
    return [Tick(t.ts_ns, [r for r in t.records if type(r) is not kind]) for t in ticks]


@pytest.mark.parametrize("how", [{"batch_ticks": 1}, {"batch_ticks": 1000}, {"workers": 2}, {"workers": 3}])
def test_the_backtest_gives_the_recorded_summary(how: dict[str, Any]) -> None:
    assert backtest_summary(**how) == json.loads(recorded.SUMMARY.read_text())


def test_a_backtest_that_crashes_after_each_tick_gives_the_recorded_decisions(decided: Settings) -> None:
    saved: Any = pickle.dumps((None, None))
    decisions = Performance(decided.portfolio_manager.initial_capital)
    for tick in feed_ticks([recorded.BARS]):
        analysis, trading = pickle.loads(saved)  # noqa: S301  (our own, made here)
        chain = TickLogic(stages.analysis(decided)(), analysis)
        loop = backtest.Gathering(1, stages.deciding(decided)(), trading)
        [analysed], _ = chain.on_batch([[tick]])
        [[traded]], _ = loop.on_batch([("0", analysed)])
        decisions.on_tick(traded)
        saved = pickle.dumps((chain.snapshot(), loop.snapshot()))
    assert decisions.summary() == json.loads(recorded.SUMMARY.read_text())


def test_the_recorded_run_is_worth_replaying() -> None:
    """Orders, fills both ways, refusals for several reasons, a halt, a closed position, and a bad row."""
    orders = recorded.log("orders", 0)
    assert {record.state for record in orders if type(record).__name__ == "RiskFence"} == {"HALTED", "ACTIVE"}
    assert {fill.side for fill in recorded.log("executions", 0) if type(fill) is not Clock} == {"BUY", "SELL"}
    refused = {refusal.check for refusal in recorded.log("order-refusals", 0) if type(refusal) is not Clock}
    assert {"kill_switch", "max_position"} <= refused
    assert any(type(record).__name__ == "LotMatch" for record in recorded.log("positions", 0))
    assert len(recorded.log("dead-letters", 0)) == 2
