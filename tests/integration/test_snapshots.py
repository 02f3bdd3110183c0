"""Recovery stores in use are read from copies; `rebuild` recreates state and tables from topics."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from configs.settings import load_settings
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS
from dataflows.runtime import stages, topology
from dataflows.runtime.store_lock import locked_store
from dataflows.runtime.wiring import StageLogic
from dataflows.sources.kafka import KafkaSliceSource
from dataflows.sources.shared_consumer import ReplayEnd
from deploy.errors import DeployError
from deploy.home import REPOSITORY
from deploy.recovery.recovery_store import copy_store, read_resume_states, read_store
from deploy.supervisor.initialize import make_recovery_store
from operators.stage import TimeSlice
from schemas.records import TOPIC_OF, Bar, Execution, Trade
from sinks.postgres import PostgresWriter
from tests.integration.recorded_platform import cli, make_topics, write
from tests.unit.tape import FAST_STRATEGY, market, platform_output, settings

COUNTER = """
import sys
from datetime import timedelta
import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, run_main

class CountPartition(StatefulSourcePartition):
    def __init__(self, at): self.at = at or 0
    def next_batch(self):
        if self.at >= int(sys.argv[2]): raise StopIteration
        self.at += 1
        return [("books", self.at)]
    def snapshot(self): return self.at

class Source(FixedPartitionedSource):
    def list_parts(self): return ["books"]
    def build_part(self, step, name, resume): return CountPartition(resume)

flow = Dataflow("portfolio")
numbers = op.input("ticks", flow, Source())
summed = op.stateful_map("stage", numbers, lambda state, n: ((1, (state or (1, 0))[1] + n), n))
op.output("out", summed, TestingSink([]))
run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(sys.argv[1]))
"""


def start_counter(store: Path, last_number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", COUNTER, str(store), str(last_number)], cwd=REPOSITORY)


def stored_sum(store: Path) -> int | None:
    """Return the sum in the store, or None before the first snapshot."""
    return next(
        (snapshot.state[1] for snapshot in read_store(store).snapshots if snapshot.step.startswith("portfolio.stage")),
        None,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "recovery").mkdir()
    make_recovery_store(tmp_path / "recovery" / "portfolio")
    return tmp_path


def test_the_commands_show_and_copy_the_snapshots_of_a_store(home: Path, tmp_path: Path) -> None:
    assert start_counter(home / "recovery" / "portfolio", 100).wait(300) == 0
    states = json.loads(cli(home, "snapshots", "inspect", "portfolio", "--step", "stage", "--json").stdout)
    assert [(state["key"], state["state"]) for state in states] == [("books", [1, 5050])]
    (row,) = json.loads(cli(home, "snapshots", "list", "--json").stdout)
    assert (row["service"], row["states"]) == ("portfolio", 2)
    copy = tmp_path / "copy"
    assert cli(home, "snapshots", "copy", "portfolio", str(copy)).returncode == 0
    assert start_counter(copy, 110).wait(300) == 0, "a dataflow resumes from the copy"
    assert stored_sum(copy) == sum(range(1, 111))
    for arguments, status, expected_text in (
        (("copy", "portfolio", str(copy)), 1, "exists"),
        (("inspect", "portfolioo"), 2, "unknown recovery store 'portfolioo'; did you mean portfolio?"),
    ):
        completed = cli(home, "snapshots", *arguments)
        assert (
            completed.returncode == status
            and expected_text in completed.stderr
            and len(completed.stderr.splitlines()) == 1
        )


def test_a_store_can_be_read_during_writes(home: Path) -> None:
    process = start_counter(home / "recovery" / "portfolio", 1_000_000)
    try:
        sums: list[int] = []
        while len(sums) < 3:  # the time limit of a test ends a hang
            assert process.poll() is None, f"the writer stopped: {sums}"
            current_sum = stored_sum(home / "recovery" / "portfolio")
            if current_sum is None or (sums and current_sum == sums[-1]):
                continue  # no later snapshot yet
            n = int((2 * current_sum) ** 0.5)
            assert n * (n + 1) // 2 == current_sum, "a sum of the first whole numbers, whenever it is read"
            sums.append(current_sum)
        assert sums == sorted(sums)
        assert process.poll() is None, "reading must not disturb the writer"
    finally:
        process.kill()
        process.wait()


def test_a_state_that_is_not_plain_data_is_not_unpickled(home: Path) -> None:
    store = home / "recovery" / "portfolio"
    with sqlite3.connect(store / "part-0.sqlite3") as database:
        insert = "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('a.b', 'c', 1, ?)"
        database.execute(insert, (pickle.dumps(os.getcwd),))
    database.close()
    with pytest.raises(DeployError, match=r"a state must be plain data, found posix\.getcwd"):
        read_store(store)
    with pytest.raises(DeployError, match="no recovery store in"):
        copy_store(home / "recovery" / "none", home / "copy")


# -- rebuild -----------------------------------------------------------------------------------------------------------

INPUT_SLICES = market(60)
OUTPUT_SLICES = platform_output(INPUT_SLICES, settings())
RECORDS = [r for a, b in zip(INPUT_SLICES, OUTPUT_SLICES, strict=True) for r in (*a.records, *b.records)]


@pytest.fixture
def environment(kafka: str, redis_url: str, make_database: Callable[[], str]) -> Iterator[dict[str, str]]:
    prefix, url = make_topics(kafka), make_database()
    write(kafka, prefix, INPUT_SLICES, INPUT_TOPICS)
    write(kafka, prefix, OUTPUT_SLICES, DERIVED_TOPICS)
    writer = PostgresWriter(url, name="test")
    writer.write(RECORDS)
    writer.close()
    yield {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": prefix,
        "DATABASE_URL": url,
        "SIGNALS__STRATEGIES": json.dumps([FAST_STRATEGY]),
    }


def test_a_table_is_rebuilt_from_its_topic_row_by_row(environment: dict[str, str], tmp_path: Path) -> None:
    for table in ("executions", "positions"):
        completed = cli(tmp_path, "rebuild", table, **environment)
        assert completed.returncode == 0 and "same as before" in completed.stdout, completed.stderr + completed.stdout
    with psycopg2.connect(environment["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE executions SET price = 1 WHERE seq = 2; DELETE FROM executions WHERE seq = 3")
    connection.close()
    completed = cli(tmp_path, "rebuild", "executions", **environment)
    fills = sum(type(record) is Execution for record in RECORDS)
    assert (
        completed.returncode == 0
        and f"executions: {fills} rows" in completed.stdout
        and "different from the" in completed.stdout
    )
    assert "same as before" in cli(tmp_path, "rebuild", "executions", **environment).stdout
    completed = cli(tmp_path, "rebuild", "features", "--table", **environment)
    assert "features: 180 rows from topic features, same as before" in completed.stdout, completed.stderr


REBUILT_SLICES = 30


def write_only(kafka: str, prefix: str, time_slices: list[TimeSlice], topics: set[str]) -> None:
    """Write the records and clocks of some topics only."""
    selected = [
        TimeSlice(ts_ns, [record for record in records if TOPIC_OF[type(record)] in topics])
        for ts_ns, records in time_slices
    ]
    write(kafka, prefix, selected, sorted(topics))


def states_of(store: Path) -> dict[str, dict[str, Any]]:
    """Return the states of a store by step, then by shard."""
    states: dict[str, dict[str, Any]] = {}
    for snapshot in read_resume_states(store):
        states.setdefault(snapshot.step.partition(".")[2], {})[snapshot.key] = snapshot.state
    return states


def continue_from(store: Path, service: str, environment: dict[str, str]) -> list[Any]:
    """Return what the service writes after its rebuilt store, in order of time."""
    current = load_settings(environment={**os.environ, **environment})
    kafka, states = current.kafka, states_of(store)
    out: list[tuple[int, Any]] = []
    for shard in topology.shards(service, kafka.symbol_partitions):
        logs = topology.input_logs(service, shard, kafka.symbol_partitions)
        source = KafkaSliceSource(
            kafka.cluster, "test", {shard: logs}, prefix=kafka.topic_prefix, until=ReplayEnd(end_of_logs=True)
        )
        logic = StageLogic(getattr(stages, service)(current)(), states["stage"][shard])
        with closing(source.build_part("test", shard, states["ticks"][shard])) as partition:
            while True:
                try:
                    batches = partition.next_batch()
                except StopIteration:
                    break
                for _, time_slices in batches:
                    for time_slice in logic.on_batch([time_slices])[0][0]:
                        out += [(time_slice.ts_ns, record) for record in time_slice.records]
    return [record for _, record in sorted(out, key=lambda pair: pair[0])]


@pytest.mark.parametrize("service", ["features", "execution", "portfolio", "risk", "feedback"])
def test_a_rebuilt_service_continues_exactly_where_its_topics_end(
    service: str, kafka: str, redis_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    prefix = make_topics(kafka)
    own_topics = set(topology.SERVICES[service].outputs)
    write(kafka, prefix, INPUT_SLICES, INPUT_TOPICS)
    write_only(kafka, prefix, OUTPUT_SLICES, {topic for topic in DERIVED_TOPICS if topic not in own_topics})
    write_only(kafka, prefix, OUTPUT_SLICES[:REBUILT_SLICES], own_topics)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": prefix,
        "DATABASE_URL": make_database(),
        "SIGNALS__STRATEGIES": json.dumps([FAST_STRATEGY]),
    }
    completed = cli(tmp_path, "rebuild", service, **environment)
    assert completed.returncode == 0, completed.stderr
    assert f"{service} continues at the next start from the end of its topics" in completed.stdout
    expected = [
        record
        for time_slice in OUTPUT_SLICES[REBUILT_SLICES:]
        for record in time_slice.records
        if TOPIC_OF[type(record)] in own_topics
    ]
    found = continue_from(tmp_path / "recovery" / service, service, environment)
    assert len(expected) > 10 and Counter(map(repr, found)) == Counter(map(repr, expected))


def test_a_service_is_rebuilt_only_if_its_topics_replay(environment: dict[str, str], home: Path) -> None:
    completed = cli(home, "rebuild", "portfolio", **environment)
    assert completed.returncode == 0, completed.stderr
    assert (home / "recovery" / "portfolio.before-1").is_dir()
    rebuilt = states_of(home / "recovery" / "portfolio")
    changed_environment = environment | {"PORTFOLIO_MANAGER__SIZING__FRACTION": "0.5"}
    completed = cli(home, "rebuild", "portfolio", **changed_environment)
    assert completed.returncode == 2 and "the replay differs from topic order-proposals/0" in completed.stderr
    assert len(completed.stderr.splitlines()) == 1
    assert not (home / "recovery" / "portfolio.before-2").exists()
    assert states_of(home / "recovery" / "portfolio") == rebuilt
    assert cli(home, "rebuild", "nonsense", **environment).returncode == 2


def test_the_feed_is_rebuilt_with_the_counters_of_its_topics(environment: dict[str, str], home: Path) -> None:
    completed = cli(home, "rebuild", "market_data", **environment)
    assert completed.returncode == 0, completed.stderr
    state = states_of(home / "recovery" / "market_data")["ticks"]["feed"]
    bars = {bar.symbol: bar for time_slice in INPUT_SLICES for bar in time_slice.records if type(bar) is Bar}
    assert state["feed"]["minutes"]["symbols"] == {symbol: (bar.seq, bar.close) for symbol, bar in bars.items()}
    assert state["last_tick_ns"] == state["feed"]["next_open"] == INPUT_SLICES[-1].ts_ns


def test_the_feed_is_rebuilt_to_the_last_clock_of_all_its_topics(
    kafka: str, make_database: Callable[[], str], home: Path
) -> None:
    """A feed that was killed has written the last time slices to two topics only: it writes them again."""
    prefix = make_topics(kafka)
    trades = [
        Trade(symbol="IBM", seq=number + 1, ts_ns=one.ts_ns, price=1.0, size=1.0)
        for number, one in enumerate(INPUT_SLICES)
    ]
    inputs = [TimeSlice(one.ts_ns, [trade, *one.records]) for trade, one in zip(trades, INPUT_SLICES, strict=True)]
    write(kafka, prefix, inputs[:-2], INPUT_TOPICS)
    write_only(kafka, prefix, inputs[-2:], {"market-bars", "market-trades"})
    environment = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "KAFKA__TOPIC_PREFIX": prefix, "DATABASE_URL": make_database()}
    completed = cli(home, "rebuild", "market_data", **environment)
    assert completed.returncode == 0, completed.stderr
    state = states_of(home / "recovery" / "market_data")["ticks"]["feed"]
    bars = {bar.symbol: bar for time_slice in INPUT_SLICES[:-2] for bar in time_slice.records if type(bar) is Bar}
    assert state["feed"]["minutes"]["symbols"] == {symbol: (bar.seq, bar.close) for symbol, bar in bars.items()}
    assert state["last_tick_ns"] == state["feed"]["next_open"] == INPUT_SLICES[-3].ts_ns
    assert state["feed"]["trades"] == {"IBM": len(INPUT_SLICES) - 2}


def test_a_store_in_use_is_not_rebuilt_and_serves_one_process_only(environment: dict[str, str], home: Path) -> None:
    store = home / "recovery" / "portfolio"
    with locked_store(store):
        completed = cli(home, "rebuild", "portfolio", **environment)
        assert completed.returncode == 1
        assert completed.stderr.startswith(f"error: recovery store {store} is in use by process {os.getpid()};")
        second = subprocess.run(
            [sys.executable, "-m", "bytewax.run", "dataflows.portfolio", "-r", str(store), "-s", "1", "-b", "0"],
            cwd=REPOSITORY,
            env={**os.environ, **environment, "PLATFORM_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert second.returncode != 0
        assert f"recovery store {store} is in use by process {os.getpid()}; stop" in second.stderr.splitlines()[-1]
    assert not (home / "recovery" / "portfolio.before-1").exists()


def test_a_service_does_not_start_from_empty_if_its_topics_hold_its_records(
    environment: dict[str, str], home: Path
) -> None:
    """Its counters would start at 1 again, and readers would discard its records as duplicates."""
    store = home / "recovery" / "portfolio"
    for recovery in (["-r", str(store), "-s", "1", "-b", "0"], []):
        started = subprocess.run(
            [sys.executable, "-m", "bytewax.run", "dataflows.portfolio", *recovery],
            cwd=REPOSITORY,
            env={**os.environ, **environment, "PLATFORM_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert started.returncode != 0
        message = started.stderr.splitlines()[-1]
        assert "the recovery store of portfolio is empty or missing, but topic order-proposals holds" in message
        assert "restore the store with `python cli.py rebuild portfolio`" in message
