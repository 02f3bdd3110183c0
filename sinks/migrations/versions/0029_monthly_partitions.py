"""Monthly partitions of the tables of market data, and a list of the archived ones

Revision ID: 0029
Revises: 0028

No row is copied: an existing table becomes the first partition of the new one, with all months up to its newest row.
PostgreSQL reads it once, and builds the index of the primary key again where `ts_ns` joins the key. All of it is one
transaction, so an interrupted migration changes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

# Key before and after, and the other indexes.
TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "bars": ("symbol, ts_ns", "symbol, ts_ns", ()),
    "features": ("symbol, ts_ns", "symbol, ts_ns", ()),
    "predictions": ("symbol, seq", "symbol, seq, ts_ns", ("ts_ns",)),
    "quotes": ("symbol, seq", "symbol, seq, ts_ns", ("symbol, ts_ns",)),
    "trades": ("symbol, seq", "symbol, seq, ts_ns", ("symbol, ts_ns",)),
    "valuations": ("seq", "seq, ts_ns", ("ts_ns",)),
}


def upgrade() -> None:
    for table, (old_key, key, indexes) in TABLES.items():
        old = f"{table}_unpartitioned"
        op.rename_table(table, old)
        op.execute(f"ALTER INDEX pk_{table} RENAME TO pk_{old}")
        for columns in indexes:
            op.execute(f"ALTER INDEX {_index(table, columns)} RENAME TO {_index(old, columns)}")
        if key != old_key:
            op.execute(f"ALTER TABLE {old} DROP CONSTRAINT pk_{old}, ADD CONSTRAINT pk_{old} PRIMARY KEY ({key})")
        op.execute(f"CREATE TABLE {table} (LIKE {old} INCLUDING GENERATED) PARTITION BY RANGE (ts_ns)")
        _add_keys(table, key, indexes)
        _attach(table, old)
    op.create_table(
        "archived_partitions",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("file", "table_name", "sha256")),
        *(
            sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)
            for name in ("first_ns", "last_ns", "end_ns", "rows", "bytes", "archived_ns")
        ),
        sa.PrimaryKeyConstraint("file", name=op.f("pk_archived_partitions")),
    )


def _attach(table: str, old: str) -> None:
    newest_ns = op.get_bind().execute(sa.text(f"SELECT max(ts_ns) FROM {old}")).scalar()  # noqa: S608  (our names)
    if newest_ns is None:
        op.drop_table(old)
        return
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    newest = epoch + timedelta(seconds=newest_ns // 1_000_000_000)
    end = datetime(newest.year + newest.month // 12, newest.month % 12 + 1, 1, tzinfo=UTC)
    partition, end_ns = f"{table}_before_{end:%Y_%m}", (end - epoch) // timedelta(seconds=1) * 1_000_000_000
    op.rename_table(old, partition)
    op.execute(f"ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM (MINVALUE) TO ({end_ns})")


def _add_keys(table: str, key: str, indexes: tuple[str, ...]) -> None:
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY ({key})")
    for columns in indexes:
        op.execute(f"CREATE INDEX {_index(table, columns)} ON {table} ({columns})")


def _index(table: str, columns: str) -> str:
    return f"ix_{table}_{columns.replace(', ', '_')}"


def downgrade() -> None:
    """Copy the rows of all partitions. Archived rows do not come back."""
    op.drop_table("archived_partitions")
    for table, (old_key, _, indexes) in TABLES.items():
        partitioned = f"{table}_partitioned"
        op.rename_table(table, partitioned)
        op.execute(f"ALTER INDEX pk_{table} RENAME TO pk_{partitioned}")
        for columns in indexes:
            op.execute(f"ALTER INDEX {_index(table, columns)} RENAME TO {_index(partitioned, columns)}")
        op.execute(f"CREATE TABLE {table} (LIKE {partitioned} INCLUDING GENERATED)")
        stored = sa.text(
            "SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) FROM pg_attribute "
            "WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
        )
        names = op.get_bind().execute(stored, {"name": table}).scalar()
        op.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {partitioned}")  # noqa: S608  (our names)
        op.drop_table(partitioned)
        _add_keys(table, old_key, indexes)
