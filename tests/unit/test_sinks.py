"""What the sinks do before they send data to a server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.errors import DeployError
from deploy.home import REPOSITORY
from deploy.local.ports import free_ports
from deploy.supervisor.migrate import migrate
from operators.stage import TimeSlice
from schemas.errors import BadInput, Unavailable
from schemas.records import Order, Position, Quote, TradingSession
from schemas.records.flat import field_names
from sinks.database import libpq_url, sqlalchemy_url
from sinks.kafka import KafkaSliceSink
from sinks.postgres import PostgresSink
from sinks.record_tables import FROM_FEEDS, LATEST, REVISED, fields_of
from sinks.redis import LatestWriter, latest_value_of, record_json
from sinks.statements import WRITE_STATEMENTS
from sinks.tables import TABLE_OF
from tests.builders import bar, position, quote, trading_session, valuation

UNREACHABLE_URL = "redis://127.0.0.1:1"


def test_a_table_has_the_fields_of_its_record_in_their_order_and_the_time_for_people() -> None:
    for record_type, table in TABLE_OF.items():
        assert [column.name for column in table.columns] == [*field_names(record_type), "ts"]


def test_a_dataflow_process_loads_no_library_that_it_does_not_use() -> None:
    code = "import sys, dataflows.signals; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert not {"sqlalchemy", "numpy", "pyarrow", "fastapi"}.intersection(loaded.stdout.split())


def test_only_a_field_that_may_be_none_is_nullable() -> None:
    nullable = {field.name for field in fields_of(Order) if field.nullable}
    may_be_none = {"limit_price", "stop_price", "trail_amount", "trail_percent", "expires_ns"}
    assert nullable == may_be_none == {c.name for c in TABLE_OF[Order].columns if c.nullable and c.name != "ts"}


def test_only_the_newest_row_of_a_key_in_a_batch_is_written_to_a_latest_table() -> None:
    rows = [position(1, 1, "A"), position(2, 2, "B"), position(4, 4, "A"), position(3, 3, "A")]
    assert WRITE_STATEMENTS[Position].prepare_rows(rows) == [position(4, 4, "A"), position(2, 2, "B")]


def test_every_latest_table_is_fenced_by_seq_and_only_those_of_feeds_and_revised_ones_are_updated_besides() -> None:
    for record_type, write in WRITE_STATEMENTS.items():
        fenced = "DO UPDATE" in write.merge_sql and 'excluded."seq" >' in write.merge_sql
        replaced = "DO UPDATE" in write.merge_sql and "IS DISTINCT FROM" in write.merge_sql
        assert fenced == (record_type in LATEST), write.merge_sql
        assert replaced == (record_type in FROM_FEEDS | REVISED), write.merge_sql


def test_the_last_record_of_a_session_in_a_batch_is_written() -> None:
    announced, other = (trading_session(day) for day in (20240703, 20240705))
    early = announced._replace(ts_ns=5, close_ns=announced.close_ns - 3, early_close=True)
    assert WRITE_STATEMENTS[TradingSession].prepare_rows([announced, other, early]) == [early, other]


def test_the_last_of_two_quotes_with_one_number_is_written() -> None:
    rows = [quote("A", 1, 1, 99.0, 101.0), quote("A", 2, 2, 99.0, 101.0), quote("A", 2, 2, 98.0, 101.0)]
    assert WRITE_STATEMENTS[Quote].prepare_rows(rows) == [rows[0], rows[2]]


def test_a_shard_keeps_its_partition() -> None:
    sink = PostgresSink("postgresql://u@localhost/d", partitions=3)
    assert [sink.part_fn(str(shard)) for shard in range(6)] == [0, 1, 2, 0, 1, 2]
    assert sink.part_fn("books") == sink.part_fn("books") < 3
    assert len(sink.list_parts()) == 3


def test_a_sink_ends_its_process_if_kafka_acknowledges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records do not fail by time, so that the wait must end here."""
    monkeypatch.setattr("sinks.kafka.wait_for_producer_ids", lambda servers: None)
    monkeypatch.setattr("sinks.kafka.DELIVERY_TIMEOUT_S", 1.0)
    [port] = free_ports(1)
    sink = KafkaSliceSink(
        f"127.0.0.1:{port}", writer="w", topics=[], clock_partitions={"feed": [("market-bars", 0)]}, partitions=1
    )
    part = sink.build_part("kafka", "feed", None)
    part.write_batch([[TimeSlice(1, [])]])
    with pytest.raises(Unavailable, match="the broker acknowledged nothing for 1 s"):
        part.snapshot()


def test_a_url_of_another_database_is_rejected_without_its_password() -> None:
    with pytest.raises(BadInput, match="found mysql"):
        sqlalchemy_url("mysql://me:secret@localhost/d")
    with pytest.raises(BadInput) as error:
        sqlalchemy_url("me:secret")
    assert "secret" not in str(error.value)
    with pytest.raises(BadInput, match="expected postgresql://") as error:
        libpq_url("me:secret@localhost://d")
    assert "secret" not in str(error.value)
    assert libpq_url("postgresql+psycopg2://me:a%40b@localhost/d?sslmode=require") == (
        "postgresql://me:a%40b@localhost/d?sslmode=require"
    )
    assert libpq_url("postgres://me@localhost/d") == "postgresql://me@localhost/d"


def test_a_failed_migration_gives_one_line_without_the_password() -> None:
    with pytest.raises(DeployError) as error:
        migrate("postgresql://me:secret@127.0.0.1:1/d")
    message = str(error.value)
    assert message.startswith("cannot migrate the database: ") and "127.0.0.1" in message
    assert "secret" not in message and "\n" not in message


def test_only_the_newest_update_of_a_key_waits_while_redis_is_unreachable() -> None:
    writer = LatestWriter(UNREACHABLE_URL, timeout_s=0.2)
    writer.put([bar("A", seq, seq) for seq in range(1, 1001)])
    writer.put([bar("B", 1, 1), position(1, 1, "A")])
    assert not writer.flush(0.1)
    assert (writer.superseded, writer.dropped) == (999, 0)
    writer.close()


def test_redis_holds_bars_positions_and_the_valuation_and_nothing_else() -> None:
    newest = valuation(3, 60, "1.50", open_positions=2)
    updates = [latest_value_of(record) for record in (bar("A", 1, 9), position(2, 2, "A"), newest)]
    assert [(key, update.fence) for key, update in filter(None, updates)] == [
        ("latest:bar:A", 9),
        ("latest:position:A", 2),
        ("latest:valuation", 3),
    ]
    assert '"equity":"1.50"' in record_json(newest)
