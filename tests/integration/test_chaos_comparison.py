"""What `chaos` compares with can fail: a sink without its fence, a row too few, a message that was lost are named."""

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
from deploy.chaos.expected import by_the_sequence_rule, expected_logs, first_difference, fused, tape_ticks
from deploy.chaos.stack import SETTINGS
from deploy.chaos.tape import SYMBOLS, write_tape
from deploy.chaos.tape_extras import Wire, write_others, write_settings
from operators.partitions import partition_of
from operators.stage import Tick
from schemas.codec import encode
from schemas.records import Bar, Clock, Execution, Position
from sinks.postgres import PostgresWriter

PARTITIONS = 4
PARTITION = Counter(partition_of(symbol, PARTITIONS) for symbol in SYMBOLS).most_common(1)[0][0]


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> list[Tick]:
    folder = tmp_path_factory.mktemp("chaos")
    files = write_tape(folder / "tape", 5, 120)
    others, wire = write_others(folder / "tape", 5, files, 120), Wire(folder / "tape", 5)
    write_settings(folder / "settings.yaml", SETTINGS, others, wire, "http://127.0.0.1:9/v1")
    settings = load_settings(folder / "settings.yaml", environment={})
    return fused(settings, tape_ticks(settings, files))


@pytest.fixture
def database(make_database: Callable[[], str], ticks: list[Tick]) -> str:
    """A database in which the platform has written the run, a part of it twice, as after a crash."""
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        for tick in [*ticks[:80], *ticks[60:]]:
            writer.write(tick.records)
    execute(url, "INSERT INTO users VALUES ('admin', 'x', 'admin', true, false, 1, now())")
    return url


def execute(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_tape_trades_and_is_a_function_of_its_seed(ticks: list[Tick], tmp_path: Path) -> None:
    kinds = {type(record).__name__ for tick in ticks for record in tick.records}
    assert kinds >= {
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
        "StrategyWeights",
        "Attribution",
        "SignalOutcome",
    }
    one, same, other = (write_tape(tmp_path / name, seed, 120) for name, seed in (("1", 5), ("2", 5), ("3", 6)))
    assert [file.read_text() for file in one] == [file.read_text() for file in same]
    assert [file.read_text() for file in one] != [file.read_text() for file in other]


def test_repeats_behind_the_fence_change_no_table(database: str, ticks: list[Tick]) -> None:
    assert tables.first_difference(database, ticks) is None
    assert tables.first_difference(database, ticks) is None, "and comparing changes nothing"


def test_a_sink_without_the_fence_is_named(database: str, ticks: list[Tick]) -> None:
    """A plain INSERT writes the executions of a repeat twice."""
    execute(database, "ALTER TABLE executions DROP CONSTRAINT pk_executions")
    names = columns(Execution)
    execute(database, f"INSERT INTO executions ({names}) SELECT {names} FROM executions LIMIT 2")  # noqa: S608
    found = tables.first_difference(database, ticks)
    assert found is not None
    assert found.startswith("table executions: 2 rows too many, the first: seq=1, ")


def columns(kind: Any) -> str:
    return ", ".join(f'"{name}"' for name in kind._fields)


def test_an_older_row_over_a_newer_one_is_named(database: str, ticks: list[Tick]) -> None:
    positions = [record for tick in ticks for record in tick.records if type(record) is Position]
    moved = Counter(position.symbol for position in positions).most_common(1)[0][0]
    first = next(position for position in positions if position.symbol == moved)
    older = f"seq = {first.seq}, quantity = {first.quantity}"
    execute(database, f"UPDATE positions SET {older} WHERE symbol = '{first.symbol}'")  # noqa: S608
    found = tables.first_difference(database, ticks)
    assert found is not None
    assert found.startswith("table positions: 1 rows too many, the first: seq=")
    assert f"symbol={first.symbol}," in found


def test_a_row_too_few_is_named(database: str, ticks: list[Tick]) -> None:
    execute(database, "DELETE FROM lot_matches WHERE seq = (SELECT max(seq) FROM lot_matches)")
    found = tables.first_difference(database, ticks)
    assert found is not None
    assert found.startswith("table lot_matches: 1 rows missing, the first: ")


def messages(ticks: list[Tick]) -> list[bytes]:
    """The partition of `market-bars` as market_data writes it."""
    out = []
    for tick in ticks:
        bars = [bar for bar in tick.records if type(bar) is Bar and partition_of(bar.symbol, PARTITIONS) == PARTITION]
        out += [encode(bar) for bar in bars] + [encode(Clock(tick.ts_ns, "market_data@test"))]
    return out


@pytest.mark.parametrize("broken", ["nothing", "repeated", "lost", "torn", "clock lost", "swapped"])
def test_the_first_message_that_differs_is_named(broken: str, ticks: list[Tick]) -> None:
    log = messages(ticks)
    expected = expected_logs(ticks, PARTITIONS)
    found = dict(expected)
    per_tick = len(log) // len(ticks)
    assert per_tick > 2, "two symbols at least lie in this partition"
    if broken == "repeated":
        log = log[:50] + log[20:]
    elif broken == "lost":
        del log[per_tick * 10]
    elif broken == "torn":
        log[per_tick * 10] = b"\0\0"
    elif broken == "clock lost":
        del log[per_tick * 10 - 1]
    elif broken == "swapped":
        log[0], log[1] = log[1], log[0]
    found["market-bars", PARTITION] = by_the_sequence_rule(log)
    difference = first_difference(found, expected)
    if broken in ("nothing", "repeated"):
        assert difference is None
    else:
        assert difference is not None
        assert difference.startswith(f"topic market-bars partition {PARTITION}: entry ")
