"""Actions of trading strategies

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def upgrade() -> None:
    op.create_table(
        "strategy_actions",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("action_id", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("cause_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True),
        sa.PrimaryKeyConstraint("action_id", name=op.f("pk_strategy_actions")),
    )
    op.create_index(op.f("ix_strategy_actions_seq"), "strategy_actions", ["seq"])
    op.create_index(op.f("ix_strategy_actions_strategy_seq"), "strategy_actions", ["strategy", "seq"])


def downgrade() -> None:
    op.drop_table("strategy_actions")
