"""Backtests from topics in a real Kafka, and exports from a real PostgreSQL: both agree with the backtest of files."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from dataflows import backtest
from dataflows.replay.recorded_feed import RecordedPeriod
from dataflows.replay.recording import INPUT_TOPICS
from dataflows.research.exports import ExportPeriod, export_frame
from dataflows.research.frames import FRAME_NAMES, RunFrames
from dataflows.sources.row_times import iso
from deploy.home import REPOSITORY
from operators.stage import TimeSlice
from schemas.records import SUBMIT_ORDER, Bar, Command, Order, OrderRefusal, Record
from sinks.postgres import PostgresWriter
from tests.builders import command
from tests.integration.recorded_platform import cli, kafka_settings, make_topics, write
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE, backtest_summary, pinned_settings, read_time_slices
from tests.unit.tape import SYMBOLS, market, platform_output, settings, with_command

ORDER = {"symbol": "IBM", "side": "BUY", "quantity": "3", "take_profit_price": "130", "stop_loss_price": "80"}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_market(tmp_path_factory.mktemp("bars"), symbols=("A", "B", "C"))


@pytest.fixture(scope="module")
def topics(kafka: str, bars: list[Path]) -> str:
    """The prefix of topics that contain the bars and a manual order, and slices that were closed for the orders."""
    slices = with_command(read_time_slices(bars), 30, command("cmd-1", 5, SUBMIT_ORDER, ORDER | {"symbol": "A"}))
    recorded = [one for time_slice in slices for one in (time_slice, TimeSlice(time_slice.ts_ns + 1, []))]
    prefix = make_topics(kafka)
    write(kafka, prefix, recorded, INPUT_TOPICS)
    return prefix


def test_a_recording_of_files_gives_their_decision_hash(kafka: str, topics: str, bars: list[Path]) -> None:
    expected = backtest_summary(bars)
    run_settings = pinned_settings()
    run_settings = run_settings.model_copy(update={"kafka": kafka_settings(run_settings, kafka, topics)})
    _, summary = backtest.run(run_settings, RecordedPeriod())
    assert expected["fills"] > 100, "a run without fills would be equal to anything"
    assert {name: summary[name] for name in expected} == expected
    given: list[Record] = []
    backtest.run(run_settings, RecordedPeriod(with_commands=True), make_observers=lambda: [given.extend])
    decisions = {one.cause_id for one in given if type(one) is Order or type(one) is OrderRefusal}
    assert "cmd-1" in decisions, "risk decides on the recorded order"


def test_the_command_reads_symbols_and_a_period_of_the_topics(
    kafka: str, topics: str, bars: list[Path], tmp_path: Path
) -> None:
    times = [time_slice.ts_ns for time_slice in read_time_slices(bars)]
    options = ["--settings", str(SETTINGS_FILE), "--start", iso(times[100]), "--json", "-"]
    environment = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "KAFKA__TOPIC_PREFIX": topics}
    completed = cli(tmp_path, "backtest", "--bars", "topics:A,C", *options, **environment)
    assert completed.returncode == 0, completed.stderr
    selected = [path for path in bars if path.stem in ("A", "C")]
    of_files = cli(tmp_path, "backtest", "--bars", *map(str, selected), *options)
    assert json.loads(completed.stdout)["decision_hash"] == json.loads(of_files.stdout)["decision_hash"]
    completed = cli(tmp_path, "backtest", "--bars", "topics:A,CC", *options, **environment)
    assert completed.returncode == 2
    assert completed.stderr.startswith("error: no recorded bars of symbol 'CC' in this period; did you mean")


def test_the_dataflow_reads_the_topics_of_the_settings(kafka: str, topics: str, bars: list[Path]) -> None:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "KAFKA__TOPIC_PREFIX": topics, "BACKTEST__SOURCE": "topics"}
    completed = subprocess.run(
        [sys.executable, "-m", "bytewax.run", "dataflows.backtest"],
        cwd=REPOSITORY,
        env={**os.environ, **environment, "PLATFORM_SETTINGS": str(SETTINGS_FILE)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert json.loads(completed.stdout)["decision_hash"] == backtest_summary(bars)["decision_hash"]


@pytest.fixture(scope="module")
def run(database_url: str) -> Iterator[tuple[str, list[TimeSlice]]]:
    """A session with strategy orders, a manual bracket and a rejected order: its database and its records."""
    refused = command("cmd-2", 6, SUBMIT_ORDER, ORDER | {"quantity": "900000"})
    inputs = with_command(with_command(market(120), 20, command("cmd-1", 5, SUBMIT_ORDER, ORDER)), 25, refused)
    outputs = platform_output(inputs, settings())
    slices = [TimeSlice(ts, [*given, *derived]) for (ts, given), (_, derived) in zip(inputs, outputs, strict=True)]
    with closing(PostgresWriter(database_url, name="test")) as writer:
        for _, records in slices:
            written: list[Record] = [record for record in records if type(record) in (Bar, Command)]
            writer.write(written)
        for _, derived in outputs:
            writer.write(derived)
    yield database_url, slices


@pytest.mark.parametrize("name", FRAME_NAMES)
def test_an_export_has_the_rows_of_the_backtest(run: tuple[str, list[TimeSlice]], name: str) -> None:
    url, slices = run
    initial = settings().portfolio_manager.initial_capital
    frames = RunFrames((name,), initial)
    for time_slice in slices:
        frames.add_all(time_slice.records)
    expected = frames.frame(name)
    with closing(psycopg2.connect(url)) as db:
        found = export_frame(db, name, initial, ExportPeriod())
        middle_ns = slices[60].ts_ns
        later = export_frame(db, name, initial, ExportPeriod(start_ns=middle_ns))
        earlier = export_frame(db, name, initial, ExportPeriod(end_ns=middle_ns))
    assert len(expected.rows) > 10 and set(SYMBOLS) >= {row[3] for row in expected.rows if name == "executions"}
    assert found.columns == expected.columns
    assert Counter(found.rows) == Counter(expected.rows)
    assert 0 < len(later.rows) < len(found.rows) and len(later.rows) + len(earlier.rows) == len(found.rows)


def test_the_command_prints_csv_and_writes_files(run: tuple[str, list[TimeSlice]], tmp_path: Path) -> None:
    url, _ = run
    completed = cli(tmp_path, "export", "executions", DATABASE_URL=url)
    assert completed.returncode == 0, completed.stderr
    rows = list(csv.DictReader(completed.stdout.splitlines()))
    rejected = [row for row in rows if row["event"] == "REJECTED"]
    assert [row["id"] for row in rejected] == ["2"] and rejected[0]["reason"]
    file = tmp_path / "trades.csv"
    completed = cli(tmp_path, "export", "trades", str(file), DATABASE_URL=url)
    assert completed.stdout == f"{len(file.read_text().splitlines()) - 1:,} trades written to {file}\n"
    completed = cli(tmp_path, "export", "equity", "equity.xlsx", DATABASE_URL=url)
    assert completed.returncode == 2 and "must end in .csv, .parquet, .pq" in completed.stderr
