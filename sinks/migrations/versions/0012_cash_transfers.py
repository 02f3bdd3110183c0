"""Cash transfers, the broker's account activities, and net flows of valuations

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def upgrade() -> None:
    op.create_table(
        "cash_transfers",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("transfer_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.Numeric(precision=38, scale=9), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reference", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("actor", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("happened_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cause_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_cash_transfers")),
    )
    op.create_index(op.f("ix_cash_transfers_seq"), "cash_transfers", ["seq"])
    op.create_index(op.f("ix_cash_transfers_ts_ns"), "cash_transfers", ["ts_ns"])
    op.create_table(
        "broker_activities",
        sa.Column("update_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("broker", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("activity_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("activity_type", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.Numeric(precision=38, scale=9), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("happened_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True),
        sa.PrimaryKeyConstraint("update_id", name=op.f("pk_broker_activities")),
    )
    op.create_index(op.f("ix_broker_activities_ts_ns"), "broker_activities", ["ts_ns"])
    # Valuations of earlier releases had no flows. The default fills them and is dropped, as every writer has the field.
    op.add_column(
        "valuations", sa.Column("net_flows", sa.Numeric(precision=38, scale=9), nullable=False, server_default="0")
    )
    op.alter_column("valuations", "net_flows", server_default=None)


def downgrade() -> None:
    op.drop_column("valuations", "net_flows")
    op.drop_table("broker_activities")
    op.drop_table("cash_transfers")
