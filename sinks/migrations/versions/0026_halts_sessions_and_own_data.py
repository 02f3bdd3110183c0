"""Trading halts, trading hours, and the user's own data

Revision ID: 0026
Revises: 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def upgrade() -> None:
    op.create_table(
        "trading_statuses",
        _text("status_id"),
        _int("ts_ns"),
        *(_text(name) for name in ("symbol", "state", "code", "reason", "source")),
        _ts(),
        sa.PrimaryKeyConstraint("status_id", name=op.f("pk_trading_statuses")),
    )
    op.create_index(op.f("ix_trading_statuses_symbol_ts_ns"), "trading_statuses", ["symbol", "ts_ns"])
    op.create_index(op.f("ix_trading_statuses_ts_ns"), "trading_statuses", ["ts_ns"])
    op.create_table(
        "trading_sessions",
        _text("session_id"),
        _int("ts_ns"),
        _text("calendar"),
        *(_int(name) for name in ("day", "open_ns", "close_ns", "utc_offset_s")),
        sa.Column("early_close", sa.Boolean(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_trading_sessions")),
    )
    op.create_index(op.f("ix_trading_sessions_open_ns"), "trading_sessions", ["open_ns"])
    op.create_table(
        "data_rows",
        _text("row_id"),
        _int("ts_ns"),
        _text("name"),
        _text("symbol"),
        sa.Column("values", postgresql.JSONB(astext_type=sa.Text()), autoincrement=False, nullable=False),
        _text("source"),
        _ts(),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_data_rows")),
    )
    op.create_index(op.f("ix_data_rows_name_ts_ns"), "data_rows", ["name", "ts_ns"])
    op.create_index(op.f("ix_data_rows_ts_ns"), "data_rows", ["ts_ns"])


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), autoincrement=False, nullable=False)


def _int(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _ts() -> sa.Column[object]:
    return sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True)


def downgrade() -> None:
    for table in ("data_rows", "trading_sessions", "trading_statuses"):
        op.drop_table(table)
