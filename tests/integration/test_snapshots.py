"""Recovery stores are read from copies while they are written, and state and tables are made anew from the topics."""

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

from dataflows.replay.recording import DERIVED, GIVEN
from deploy.errors import DeployError
from deploy.home import REPOSITORY
from deploy.recovery.recovery_store import copy_store, read_store
from deploy.supervisor.initialise import make_recovery_store
from schemas.records import Execution
from sinks.postgres import PostgresWriter
from tests.integration.recorded_platform import cli, make_topics, write
from tests.unit.tape import QUICK, decided, market, settings

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


def count(store: Path, upto: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", COUNTER, str(store), str(upto)], cwd=REPOSITORY)


def total(store: Path) -> int | None:
    """The sum in the store, None before the first snapshot."""
    return next((one.state[1] for one in read_store(store).snapshots if one.step.startswith("portfolio.stage")), None)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "recovery").mkdir()
    make_recovery_store(tmp_path / "recovery" / "portfolio")
    return tmp_path


def test_the_commands_show_and_copy_what_a_store_holds(home: Path, tmp_path: Path) -> None:
    assert count(home / "recovery" / "portfolio", 100).wait(60) == 0
    shown = json.loads(cli(home, "snapshots", "inspect", "portfolio", "--step", "stage", "--json").stdout)
    assert [(one["key"], one["state"]) for one in shown] == [("books", [1, 5050])]
    (row,) = json.loads(cli(home, "snapshots", "list", "--json").stdout)
    assert (row["service"], row["states"]) == ("portfolio", 2)
    copy = tmp_path / "copy"
    assert cli(home, "snapshots", "copy", "portfolio", str(copy)).returncode == 0
    assert count(copy, 110).wait(60) == 0, "a dataflow resumes from the copy"
    assert total(copy) == sum(range(1, 111))
    for arguments, words in ((("copy", "portfolio", str(copy)), "exists"), (("inspect", "x"), "no recovery store")):
        done = cli(home, "snapshots", *arguments)
        assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_store_is_read_while_it_is_written(home: Path) -> None:
    writing = count(home / "recovery" / "portfolio", 1_000_000)
    try:
        seen: list[int] = []
        deadline = time.monotonic() + 60
        while len(seen) < 5 and time.monotonic() < deadline:
            found = total(home / "recovery" / "portfolio")
            if found is not None:
                n = int((2 * found) ** 0.5)
                assert n * (n + 1) // 2 == found, "a sum of the first whole numbers, whenever it is read"
                seen.append(found)
        assert len(seen) == 5 and seen == sorted(seen) and seen[0] < seen[-1]
        assert writing.poll() is None, "reading must not disturb the writer"
    finally:
        writing.kill()
        writing.wait()


def test_a_state_that_is_no_plain_data_is_not_unpickled(home: Path) -> None:
    store = home / "recovery" / "portfolio"
    with sqlite3.connect(store / "part-0.sqlite3") as database:
        insert = "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('a.b', 'c', 1, ?)"
        database.execute(insert, (pickle.dumps(os.getcwd),))
    database.close()
    with pytest.raises(DeployError, match=r"a state must be plain data, found posix\.getcwd"):
        read_store(store)
    with pytest.raises(DeployError, match="there is no recovery store"):
        copy_store(home / "recovery" / "none", home / "copy")


# -- rebuild -----------------------------------------------------------------------------------------------------------

GIVEN_TICKS = market(60)
MADE = decided(GIVEN_TICKS, settings())
RECORDS = [r for a, b in zip(GIVEN_TICKS, MADE, strict=True) for r in (*a.records, *b.records)]


@pytest.fixture
def told(kafka: str, redis_url: str, make_database: Callable[[], str]) -> Iterator[dict[str, str]]:
    prefix, url = make_topics(kafka), make_database()
    write(kafka, prefix, GIVEN_TICKS, GIVEN)
    write(kafka, prefix, MADE, DERIVED)
    writer = PostgresWriter(url, name="test")
    writer.write(RECORDS)
    writer.close()
    yield {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": prefix,
        "DATABASE_URL": url,
        "SIGNALS__STRATEGIES": json.dumps([QUICK]),
    }


def test_a_table_comes_back_from_its_topic_row_for_row(told: dict[str, str], tmp_path: Path) -> None:
    for table in ("executions", "positions"):
        done = cli(tmp_path, "rebuild", table, **told)
        assert done.returncode == 0 and "the same as before" in done.stdout, done.stderr + done.stdout
    with psycopg2.connect(told["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE executions SET price = 1 WHERE seq = 2; DELETE FROM executions WHERE seq = 3")
    connection.close()
    done = cli(tmp_path, "rebuild", "executions", **told)
    fills = sum(type(record) is Execution for record in RECORDS)
    assert done.returncode == 0 and f"executions: {fills} rows" in done.stdout and "before it had" in done.stdout
    assert "the same as before" in cli(tmp_path, "rebuild", "executions", **told).stdout
    done = cli(tmp_path, "rebuild", "features", "--table", **told)
    assert "features: 180 rows from topic features, the same as before" in done.stdout, done.stderr


def test_a_service_starts_anew_only_where_the_topics_replay(told: dict[str, str], home: Path) -> None:
    done = cli(home, "rebuild", "portfolio", **told)
    assert done.returncode == 0, done.stderr
    assert (home / "recovery" / "portfolio.before-1").is_dir()
    assert read_store(home / "recovery" / "portfolio").snapshots == []
    other = told | {"PORTFOLIO_MANAGER__SIZING__FRACTION": "0.5"}
    done = cli(home, "rebuild", "portfolio", **other)
    assert done.returncode == 1 and "do not replay under the settings of today" in done.stderr
    assert not (home / "recovery" / "portfolio.before-2").exists()
    done = cli(home, "rebuild", "market_data", **told)
    assert done.returncode == 2 and "is an edge" in done.stderr
    assert cli(home, "rebuild", "nonsense", **told).returncode == 2
