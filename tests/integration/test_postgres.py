"""The PostgreSQL sink on a real server: repeated batches, order, broken connections and migrations."""

from __future__ import annotations

import json
import random
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from alembic import command as alembic_command
from sqlalchemy import Engine, select, text

import schemas
from operators.stage import TimeSlice
from schemas.codec import decode, file_name
from schemas.errors import Unavailable
from schemas.records import (
    BUY,
    CheckResult,
    DeadLetter,
    Execution,
    Lot,
    Position,
    Record,
    RiskEvent,
    RiskUsage,
    StrategyPosition,
)
from sinks.database import alembic_config, open_engine
from sinks.postgres import PostgresSink, PostgresWriter
from sinks.record_tables import LATEST, record_of
from sinks.tables import TABLE_OF
from tests.builders import (
    bar,
    command,
    dead_letter,
    execution,
    feature_row,
    fence,
    lot_match,
    order,
    order_cancel,
    position,
    proposal,
    quote,
    refusal,
    signal,
    valuation,
)

D = Decimal
T0 = 1_700_000_000_123_456_789


def _position(symbol: str, seq: int) -> Position:
    return position(seq, T0 + seq, symbol, seq, 150.25, realized_pnl="-0.000000001", fees=1)


def _lot(lot_id: str, seq: int, quantity: str) -> Lot:
    return Lot(
        seq=seq,
        ts_ns=T0 + seq,
        lot_id=lot_id,
        symbol="AAPL",
        opened_ns=T0,
        quantity=D(quantity),
        price=D("150.123456789"),
        execution_id="exe-1",
    )


def one_of_each() -> list[Record]:
    """Records with awkward values, and the schema example of each remaining record type."""
    records = awkward_records()
    record_types = {type(record) for record in records}
    examples = Path(schemas.__file__).parent / "examples"
    for record_type in TABLE_OF:
        if record_type not in record_types:
            example = json.loads((examples / file_name(record_type).replace(".avsc", ".json")).read_text())
            records.append(decode(b64decode(example["message_base64"])))
    return records


def awkward_records() -> list[Record]:
    checks = [CheckResult("max_order_notional", "15025", "50000"), CheckResult("cash", "a \"b\" 'c' \\ é", "1")]
    return [
        bar("AAPL", 1, T0, 0.1 + 0.2),
        feature_row("AAPL", 1, T0, 101.0, values={"ema_12": 1e-300, "rsi_14": 50.000000000000007}),
        signal("AAPL", 1, T0),
        proposal(BUY, 100, ts_ns=T0, limit_price=1.5, reference_price=2, sizing="5 % of", signal_ids=["sig-1"]),
        order(1, quantity=100, ts_ns=T0, risk_epoch=1, checks=checks),
        order_cancel(3, "ord-1", ts_ns=T0),
        fence(2, epoch=2, ts_ns=T0),
        RiskEvent(
            seq=1,
            ts_ns=T0,
            breaker="daily_loss",
            scope="SYMBOL",
            scope_key="AAPL",
            state="REDUCING",
            found="12",
            limit="10",
            actor="automatic",
            reason="why",
            cause_id="tick-1",
        ),
        RiskUsage(seq=1, ts_ns=T0, measure="max_position", scope_key="AAPL", used=D("1.5"), limit=None, share=None),
        refusal(1, T0, "AAPL", quantity=0.5),
        execution(1, T0, "AAPL", 100, 150.25, "1.005"),
        _position("AAPL", 3),
        _lot("lot-1", 2, "100"),
        lot_match(1, T0, closed_ns=T0 + 1),
        valuation(
            1,
            T0,
            "12345678901234567890.123456789",
            cash=-1.5,
            gross_exposure=-1.5,
            unrealized_pnl=-1.5,
            realized_pnl=-1.5,
            fees=-1.5,
            open_positions=1,
        ),
        command("cmd-1", T0, arguments={"a": "b"}, reason="why\nnot"),
        dead_letter("market-bars", 1041, partition=2, stage="features", ts_ns=T0, raw=b"\x00\xff'\\"),
    ]


@pytest.fixture
def engine(make_database: Callable[[], str]) -> Iterator[Engine]:
    engine = open_engine(make_database())
    yield engine
    engine.dispose()


def _url(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def _records(engine: Engine, record_type: Any) -> list[Any]:
    table = TABLE_OF[record_type]
    with engine.connect() as connection:
        rows = connection.execute(select(table).order_by(*table.primary_key)).mappings()
        return [record_of(record_type, row) for row in rows]


def _all(engine: Engine) -> dict[str, list[Any]]:
    return {record_type.__name__: _records(engine, record_type) for record_type in TABLE_OF}


def _write(engine: Engine, batches: Sequence[Sequence[Record]]) -> None:
    part = PostgresSink(_url(engine), name="test").build_part("postgres", "0000", None)
    for batch in batches:
        part.write_batch([[TimeSlice(T0, batch)], [TimeSlice(T0 + 1, [])]])
    part.close()


@pytest.mark.parametrize("copy_from_rows", [1, 1_000_000], ids=["copy", "values"])
def test_every_record_comes_back_as_it_was_written(
    engine: Engine, copy_from_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.postgres.COPY_FROM_ROWS", copy_from_rows)
    records = one_of_each()
    assert {type(record) for record in records} == set(TABLE_OF)
    _write(engine, [records, records])
    for record in records:
        assert _records(engine, type(record)) == [record]


def test_unstorable_text_is_stored_with_replacement_characters(engine: Engine) -> None:
    _write(
        engine,
        [[dead_letter("t", 1, stage="s", ts_ns=T0, reason="a\0b\ud800", schema_id=2, raw=b"\0")]],
    )
    assert _records(engine, DeadLetter)[0].reason == "a\ufffdb?"


def _history(count: int) -> list[Record]:
    """Bars and books as the stages write them: facts with a rising `seq`, and positions and lots that change."""
    rng = random.Random(3)
    records: list[Record] = []
    seq = 0
    for i in range(1, count + 1):
        records.append(bar(f"S{i % 7}", i // 7 + 1, T0 + i // 7, 100.0 + rng.random()))
        if rng.random() < 0.4:
            records.append(execution(i, T0 + i, f"S{i % 7}", rng.choice((-5, 5)), 99.5, "0.35"))
            seq += 2
            records.append(_lot(f"lot-{i % 11}", seq - 1, str(rng.randint(0, 9))))
            records.append(_position(f"S{i % 7}", seq))
    return records


def test_repeated_and_overlapping_batches_leave_the_same_tables(make_database: Callable[[], str]) -> None:
    records = _history(600)
    written_once, written_often = open_engine(make_database()), open_engine(make_database())
    _write(written_once, [[record] for record in records])
    rng = random.Random(5)
    batches = []
    start = 0
    while start < len(records):
        end = start + rng.choice((1, 3, 50, 400))
        batches += [records[start:end], records[max(0, start - rng.randint(0, 300)) : end]]
        start = end
    batches.append(records)
    _write(written_often, batches)
    assert _all(written_once) == _all(written_often)
    assert len(_records(written_once, Position)) == 7 and len(_records(written_once, Lot)) == 11
    written_once.dispose()
    written_often.dispose()


@pytest.mark.parametrize("copy_from_rows", [1, 1_000_000], ids=["copy", "values"])
def test_an_older_row_never_overwrites_a_newer_one(
    engine: Engine, copy_from_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.postgres.COPY_FROM_ROWS", copy_from_rows)
    _write(
        engine, [[_position("A", 5), _position("A", 9), _position("A", 7)], [_position("A", 8)], [_position("A", 9)]]
    )
    _write(engine, [[_lot("lot-1", 4, "0")], [_lot("lot-1", 3, "7"), _lot("lot-1", 2, "9")]])
    assert _records(engine, Position) == [_position("A", 9)]
    assert _records(engine, Lot) == [_lot("lot-1", 4, "0")]


def test_a_stored_fact_is_not_overwritten(engine: Engine) -> None:
    _write(engine, [[execution(1, T0, "A", 1, 1.0)], [execution(1, T0, "A", 1, 2.0)]])
    assert _records(engine, Execution) == [execution(1, T0, "A", 1, 1.0)]


def _terminate(admin: Any, name: str) -> int:
    with admin.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s", (name,)
        )
        return int(cursor.fetchone()[0])


def test_connections_killed_while_writing_lose_and_duplicate_nothing(make_database: Callable[[], str]) -> None:
    records = _history(2500)
    undisturbed, disturbed = open_engine(make_database()), open_engine(make_database())
    _write(undisturbed, [records])
    writer = PostgresWriter(_url(disturbed), name="stormy")
    finished = threading.Event()
    batches_written = 0

    def write() -> None:
        nonlocal batches_written
        for start in range(0, len(records), 60):
            writer.write(records[start : start + 60])
            batches_written += 1
        finished.set()

    thread = threading.Thread(target=write)
    admin = psycopg2.connect(_url(disturbed).replace("+psycopg2", ""))
    admin.autocommit = True
    thread.start()
    kills, written_at_kill = 0, -1
    while not finished.wait(0.05):
        assert thread.is_alive() or finished.is_set()
        # On a busy machine a batch may take longer than the pause. Kill only after progress, so that batches finish.
        if batches_written > written_at_kill:
            written_at_kill = batches_written
            kills += _terminate(admin, "stormy")
    thread.join()
    writer.close()
    admin.close()
    assert kills >= 3
    assert _all(undisturbed) == _all(disturbed)
    undisturbed.dispose()
    disturbed.dispose()


def test_a_lock_delays_a_batch_and_loses_none(engine: Engine) -> None:
    writer = PostgresWriter(_url(engine), name="locked")
    writer.write([_position("A", 1)])
    thread = threading.Thread(target=writer.write, args=([_position("A", 2), _position("B", 3)],))
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE positions IN ACCESS EXCLUSIVE MODE"))
        thread.start()
        time.sleep(0.2)
        assert thread.is_alive()
    thread.join(60)
    writer.close()
    assert _records(engine, Position) == [_position("A", 2), _position("B", 3)]


def test_a_long_postgres_outage_is_one_clear_error() -> None:
    writer = PostgresWriter("postgresql://u:p@127.0.0.1:1/none", name="test", unavailable_after_s=0.3)
    with pytest.raises(Unavailable, match=r"Postgres accepted no batch for 0\.3 s"):
        writer.write([_position("A", 1)])


def test_the_migrations_create_the_tables_and_run_down_and_up(make_database: Callable[[], str]) -> None:
    url = make_database()
    config = alembic_config(url)
    alembic_command.check(config)
    alembic_command.downgrade(config, "base")
    engine = open_engine(url)
    with engine.connect() as connection:
        tables_left = (
            connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars().all()
        )
    assert tables_left == ["alembic_version"]
    alembic_command.upgrade(config, "head")
    alembic_command.check(config)
    assert {record_type: rows for record_type, rows in _all(engine).items() if rows} == {}
    engine.dispose()


def test_the_ts_column_is_the_event_time(engine: Engine) -> None:
    _write(engine, [[execution(1, T0, "A", 1, 1.0)]])
    with engine.connect() as connection:
        ts = connection.execute(text("SELECT ts FROM executions")).scalar_one()
    assert ts.isoformat() == "2023-11-14T22:13:20.123457+00:00"


@pytest.mark.parametrize("count", [1, 50], ids=["values", "stage table"])
def test_quotes_and_bars_that_were_lost_before_the_log_are_replaced(engine: Engine, count: int) -> None:
    """A live feed whose process is killed cannot repeat them: the next ones have their keys."""
    lost = [quote("A", seq, T0 + seq, 90.0, 92.0) for seq in range(1, count + 1)]
    logged = [one._replace(bid=91.0, ts_ns=one.ts_ns + 7) for one in lost]
    bars = [bar("A", seq, T0 + seq, 100.0) for seq in range(1, count + 1)]
    backfilled = [one._replace(volume=77.0) for one in bars]
    _write(engine, [[*lost, *bars], [*logged, *backfilled], [*logged, *backfilled]])
    rows = _all(engine)
    assert sorted(rows["Quote"]) == logged
    assert sorted(rows["Bar"], key=lambda one: one.seq) == backfilled


def test_latest_tables_are_positions_lots_and_risk_usage() -> None:
    assert {Position, Lot, RiskUsage, StrategyPosition} == LATEST
