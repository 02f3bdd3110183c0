"""Strategy suspensions

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def upgrade() -> None:
    op.create_table(
        "strategy_suspensions",
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cause_id", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True),
        sa.PrimaryKeyConstraint("symbol", "seq", name=op.f("pk_strategy_suspensions")),
    )
    op.create_index(op.f("ix_strategy_suspensions_strategy_ts_ns"), "strategy_suspensions", ["strategy", "ts_ns"])


def downgrade() -> None:
    op.drop_table("strategy_suspensions")
