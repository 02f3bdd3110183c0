"""The comparison of `chaos` can fail: it names duplicate rows, missing rows and lost messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from configs.settings import load_settings
from deploy.chaos import tables
from deploy.chaos.expected import deduplicated, expected_logs, first_difference, run_stages, tape_slices
from deploy.chaos.side_inputs import WireFiles, write_settings, write_side_inputs
from deploy.chaos.tape import SYMBOLS, write_tape
from operators.partitions import partition_of
from operators.stage import TimeSlice
from schemas.codec import encode
from schemas.records import Bar, Clock, Execution, Position
from sinks.postgres import PostgresWriter

PARTITIONS = 4
PARTITION = Counter(partition_of(symbol, PARTITIONS) for symbol in SYMBOLS).most_common(1)[0][0]


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    folder = tmp_path_factory.mktemp("chaos")
    files = write_tape(folder / "tape", 5, 120)
    others, wire = write_side_inputs(folder / "tape", 5, files, 120), WireFiles(folder / "tape", 5)
    write_settings(folder / "settings.yaml", others, wire, "http://127.0.0.1:9/v1")
    settings = load_settings(folder / "settings.yaml", environment={})
    return run_stages(settings, tape_slices(settings, files))


@pytest.fixture
def database(make_database: Callable[[], str], time_slices: list[TimeSlice]) -> str:
    """A database with the rows of the run. A part of them was written twice, as after a crash."""
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        for time_slice in [*time_slices[:80], *time_slices[60:]]:
            writer.write(time_slice.records)
    execute(url, "INSERT INTO users VALUES ('admin', 'x', 'admin', true, false, 1, now())")
    return url


def execute(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_tape_trades_and_depends_only_on_its_seed(time_slices: list[TimeSlice], tmp_path: Path) -> None:
    record_types = {type(record).__name__ for time_slice in time_slices for record in time_slice.records}
    assert record_types >= {
        "Bar",
        "FeatureRow",
        "Signal",
        "OrderProposal",
        "Order",
        "Execution",
        "Lot",
        "LotMatch",
        "Valuation",
        "NewsItem",
        "LlmRequest",
        "SentimentScore",
        "Fundamentals",
        "Quote",
        "ExchangeRate",
        "TradingStatus",
        "TradingSession",
        "DataRow",
        "StrategyWeights",
        "Attribution",
        "SignalOutcome",
        "StrategyAction",
    }
    first, same, other = (write_tape(tmp_path / name, seed, 120) for name, seed in (("1", 5), ("2", 5), ("3", 6)))
    assert [file.read_text() for file in first] == [file.read_text() for file in same]
    assert [file.read_text() for file in first] != [file.read_text() for file in other]


def test_repeats_behind_the_fence_change_no_table(database: str, time_slices: list[TimeSlice]) -> None:
    assert tables.first_difference(database, time_slices) is None
    assert tables.first_difference(database, time_slices) is None, "and comparing changes nothing"


def test_rows_of_a_sink_without_the_fence_are_named(database: str, time_slices: list[TimeSlice]) -> None:
    """A plain INSERT writes the executions of repeated time slices twice."""
    execute(database, "ALTER TABLE executions DROP CONSTRAINT pk_executions")
    names = columns(Execution)
    execute(database, f"INSERT INTO executions ({names}) SELECT {names} FROM executions ORDER BY seq LIMIT 2")  # noqa: S608
    difference = tables.first_difference(database, time_slices)
    assert difference is not None
    assert difference.startswith("table executions: 2 rows unexpected; the first: seq=1, ")


def columns(record_type: Any) -> str:
    return ", ".join(f'"{name}"' for name in record_type._fields)


def test_an_older_row_over_a_newer_one_is_named(database: str, time_slices: list[TimeSlice]) -> None:
    positions = [record for time_slice in time_slices for record in time_slice.records if type(record) is Position]
    symbol = Counter(position.symbol for position in positions).most_common(1)[0][0]
    first = next(position for position in positions if position.symbol == symbol)
    older_values = f"seq = {first.seq}, quantity = {first.quantity}"
    execute(database, f"UPDATE positions SET {older_values} WHERE symbol = '{first.symbol}'")  # noqa: S608
    difference = tables.first_difference(database, time_slices)
    assert difference is not None
    assert difference.startswith("table positions: 1 rows unexpected; the first: seq=")
    assert f"symbol={first.symbol}," in difference


def test_a_missing_row_is_named(database: str, time_slices: list[TimeSlice]) -> None:
    execute(database, "DELETE FROM lot_matches WHERE seq = (SELECT max(seq) FROM lot_matches)")
    difference = tables.first_difference(database, time_slices)
    assert difference is not None
    assert difference.startswith("table lot_matches: 1 rows missing; the first: ")


def messages(time_slices: list[TimeSlice]) -> list[bytes]:
    """The messages of one `market-bars` partition as market_data writes them."""
    out = []
    for time_slice in time_slices:
        bars = [
            bar for bar in time_slice.records if type(bar) is Bar and partition_of(bar.symbol, PARTITIONS) == PARTITION
        ]
        out += [encode(bar) for bar in bars] + [encode(Clock(time_slice.ts_ns, "market_data@test"))]
    return out


@pytest.mark.parametrize("broken", ["nothing", "repeated", "lost", "torn", "clock lost", "swapped"])
def test_the_first_message_that_differs_is_named(broken: str, time_slices: list[TimeSlice]) -> None:
    log = messages(time_slices)
    expected = expected_logs(time_slices, PARTITIONS)
    actual = dict(expected)
    messages_per_slice = len(log) // len(time_slices)
    assert messages_per_slice > 2, "two symbols at least lie in this partition"
    if broken == "repeated":
        log = log[:50] + log[20:]
    elif broken == "lost":
        del log[messages_per_slice * 10]
    elif broken == "torn":
        log[messages_per_slice * 10] = b"\0\0"
    elif broken == "clock lost":
        del log[messages_per_slice * 10 - 1]
    elif broken == "swapped":
        log[0], log[1] = log[1], log[0]
    actual["market-bars", PARTITION] = deduplicated(log)
    difference = first_difference(actual, expected)
    if broken in ("nothing", "repeated"):
        assert difference is None
    else:
        assert difference is not None
        assert difference.startswith(f"topic market-bars partition {PARTITION}: entry ")
