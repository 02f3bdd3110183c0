"""What the sinks do before they send data to a server."""

from __future__ import annotations

from decimal import Decimal

import pytest

from schemas.errors import BadInput
from schemas.records import Order, Position, Valuation
from sinks.database import libpq_url, sqlalchemy_url
from sinks.postgres import PostgresSink
from sinks.redis import PENDING_MAX, LatestWriter, latest_value_of, record_json
from sinks.statements import WRITE_STATEMENTS
from sinks.tables import LATEST, TABLE_OF, fields_of
from tests.unit.builders import bar

UNREACHABLE_URL = "redis://127.0.0.1:1"


def position(symbol: str, seq: int, quantity: str = "1") -> Position:
    return Position._make((seq, seq, symbol, Decimal(quantity), *[Decimal(0)] * 4, f"exe-{seq}"))


def test_a_table_has_the_fields_of_its_record_in_their_order_and_the_time_for_people() -> None:
    for record_type, table in TABLE_OF.items():
        assert [column.name for column in table.columns] == [*record_type._fields, "ts"]  # type: ignore[attr-defined]


def test_only_a_field_that_may_be_none_is_nullable() -> None:
    nullable = {field.name for field in fields_of(Order) if field.nullable}
    may_be_none = {"limit_price", "stop_price", "trail_amount", "trail_percent", "expires_ns"}
    assert nullable == may_be_none == {c.name for c in TABLE_OF[Order].columns if c.nullable and c.name != "ts"}


def test_only_the_newest_row_of_a_key_in_a_batch_is_written_to_a_latest_table() -> None:
    rows = [position("A", 1), position("B", 2), position("A", 4), position("A", 3)]
    assert WRITE_STATEMENTS[Position].prepare_rows(rows) == [position("A", 4), position("B", 2)]


def test_every_latest_table_is_fenced_by_seq_and_no_other_is_ever_updated() -> None:
    for record_type, write in WRITE_STATEMENTS.items():
        fenced = "DO UPDATE" in write.merge_sql and 'excluded."seq" >' in write.merge_sql
        assert fenced == (record_type in LATEST), write.merge_sql


def test_a_shard_keeps_its_partition() -> None:
    sink = PostgresSink("postgresql://u@localhost/d", partitions=3)
    assert [sink.part_fn(str(shard)) for shard in range(6)] == [0, 1, 2, 0, 1, 2]
    assert sink.part_fn("books") == sink.part_fn("books") < 3
    assert len(sink.list_parts()) == 3


def test_a_url_of_another_database_is_rejected_without_its_password() -> None:
    with pytest.raises(BadInput, match="found mysql"):
        sqlalchemy_url("mysql://me:secret@localhost/d")
    with pytest.raises(BadInput) as error:
        sqlalchemy_url("me:secret")
    assert "secret" not in str(error.value)
    assert libpq_url("postgres://me@localhost/d") == "postgresql://me@localhost/d"


def test_only_the_newest_update_of_a_key_waits_while_redis_is_unreachable() -> None:
    writer = LatestWriter(UNREACHABLE_URL, timeout_s=0.2)
    writer.put([bar("A", seq, seq) for seq in range(1, 1001)])
    writer.put([bar("B", 1, 1), position("A", 1)])
    assert not writer.flush(0.1)
    assert len(writer._pending) <= 3 < PENDING_MAX
    assert writer.superseded >= 999
    writer.close()
    assert not writer._thread.is_alive()


def test_redis_holds_bars_positions_and_the_valuation_and_nothing_else() -> None:
    valuation = Valuation._make((3, 60, *[Decimal("1.50")] * 7, 2))
    updates = [latest_value_of(record) for record in (bar("A", 1, 9), position("A", 2), valuation)]
    assert [(key, update.fence) for key, update in filter(None, updates)] == [
        ("latest:bar:A", 9),
        ("latest:position:A", 2),
        ("latest:valuation", 3),
    ]
    assert '"equity":"1.50"' in record_json(valuation)
