"""Recovery stores in use are read from copies; `rebuild` recreates state and tables from topics."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS
from deploy.errors import DeployError
from deploy.home import REPOSITORY
from deploy.recovery.recovery_store import copy_store, read_store
from deploy.supervisor.initialise import make_recovery_store
from schemas.records import Execution
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

class Part(StatefulSourcePartition):
    def __init__(self, at): self.at = at or 0
    def next_batch(self):
        if self.at >= int(sys.argv[2]): raise StopIteration
        self.at += 1
        return [("books", self.at)]
    def snapshot(self): return self.at

class Source(FixedPartitionedSource):
    def list_parts(self): return ["books"]
    def build_part(self, step, name, resume): return Part(resume)

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
    assert start_counter(home / "recovery" / "portfolio", 100).wait(60) == 0
    states = json.loads(cli(home, "snapshots", "inspect", "portfolio", "--step", "stage", "--json").stdout)
    assert [(state["key"], state["state"]) for state in states] == [("books", [1, 5050])]
    (row,) = json.loads(cli(home, "snapshots", "list", "--json").stdout)
    assert (row["service"], row["states"]) == ("portfolio", 2)
    copy = tmp_path / "copy"
    assert cli(home, "snapshots", "copy", "portfolio", str(copy)).returncode == 0
    assert start_counter(copy, 110).wait(60) == 0, "a dataflow resumes from the copy"
    assert stored_sum(copy) == sum(range(1, 111))
    for arguments, status, words in (
        (("copy", "portfolio", str(copy)), 1, "exists"),
        (("inspect", "portfolioo"), 2, "unknown recovery store 'portfolioo'; did you mean portfolio?"),
    ):
        completed = cli(home, "snapshots", *arguments)
        assert completed.returncode == status and words in completed.stderr and len(completed.stderr.splitlines()) == 1


def test_a_store_can_be_read_during_writes(home: Path) -> None:
    process = start_counter(home / "recovery" / "portfolio", 1_000_000)
    try:
        sums: list[int] = []
        deadline = time.monotonic() + 60
        while len(sums) < 5 and time.monotonic() < deadline:
            current_sum = stored_sum(home / "recovery" / "portfolio")
            if current_sum is not None:
                n = int((2 * current_sum) ** 0.5)
                assert n * (n + 1) // 2 == current_sum, "a sum of the first whole numbers, whenever it is read"
                sums.append(current_sum)
        assert len(sums) == 5 and sums == sorted(sums) and sums[0] < sums[-1]
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


def test_a_service_is_rebuilt_only_if_its_topics_replay(environment: dict[str, str], home: Path) -> None:
    completed = cli(home, "rebuild", "portfolio", **environment)
    assert completed.returncode == 0, completed.stderr
    assert (home / "recovery" / "portfolio.before-1").is_dir()
    assert read_store(home / "recovery" / "portfolio").snapshots == []
    changed_environment = environment | {"PORTFOLIO_MANAGER__SIZING__FRACTION": "0.5"}
    completed = cli(home, "rebuild", "portfolio", **changed_environment)
    assert completed.returncode == 1 and "do not replay with the current settings" in completed.stderr
    assert not (home / "recovery" / "portfolio.before-2").exists()
    completed = cli(home, "rebuild", "market_data", **environment)
    assert completed.returncode == 2 and "its state comes from the feed" in completed.stderr
    assert cli(home, "rebuild", "nonsense", **environment).returncode == 2
