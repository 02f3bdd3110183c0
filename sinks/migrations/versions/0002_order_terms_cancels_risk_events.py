"""Order terms beyond market and limit, cancels, risk events and limit usage

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(precision=38, scale=9)
TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def _ts() -> sa.Column[object]:
    return sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True)


def _add_with_default(table: str, column: str, kind: sa.Boolean | sa.Text, default: str) -> None:
    """Add a column. Existing rows get the default; new rows must set the column."""
    op.add_column(table, sa.Column(column, kind, nullable=False, server_default=default))
    op.alter_column(table, column, server_default=None)


def upgrade() -> None:
    for table in ("order_proposals", "orders"):
        op.add_column(table, sa.Column("stop_price", MONEY, nullable=True))
        op.add_column(table, sa.Column("trail_amount", MONEY, nullable=True))
        op.add_column(table, sa.Column("trail_percent", MONEY, nullable=True))
        op.add_column(table, sa.Column("expires_ns", sa.BigInteger(), nullable=True))
        _add_with_default(table, "reduce_only", sa.Boolean(), "false")
        _add_with_default(table, "group_id", sa.Text(), "")
        _add_with_default(table, "parent_id", sa.Text(), "")
    _add_with_default("orders", "replaces", sa.Text(), "")
    _add_with_default("executions", "cause_id", sa.Text(), "")
    op.create_table(
        "order_cancels",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("cause_id", sa.Text(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_order_cancels")),
    )
    op.create_index(op.f("ix_order_cancels_order_id"), "order_cancels", ["order_id"], unique=False)
    op.create_table(
        "risk_events",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("breaker", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("scope", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("scope_key", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("found", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("limit", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("actor", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("cause_id", sa.Text(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_risk_events")),
    )
    op.create_index(op.f("ix_risk_events_ts_ns"), "risk_events", ["ts_ns"], unique=False)
    op.create_table(
        "risk_usage",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("measure", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("scope_key", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("used", MONEY, autoincrement=False, nullable=False),
        sa.Column("limit", MONEY, autoincrement=False, nullable=True),
        sa.Column("share", sa.Double(), autoincrement=False, nullable=True),
        _ts(),
        sa.PrimaryKeyConstraint("measure", "scope_key", name=op.f("pk_risk_usage")),
    )


def downgrade() -> None:
    op.drop_table("risk_usage")
    op.drop_index(op.f("ix_risk_events_ts_ns"), table_name="risk_events")
    op.drop_table("risk_events")
    op.drop_index(op.f("ix_order_cancels_order_id"), table_name="order_cancels")
    op.drop_table("order_cancels")
    op.drop_column("executions", "cause_id")
    op.drop_column("orders", "replaces")
    for table in ("order_proposals", "orders"):
        for column in (
            "parent_id",
            "group_id",
            "reduce_only",
            "expires_ns",
            "trail_percent",
            "trail_amount",
            "stop_price",
        ):
            op.drop_column(table, column)
