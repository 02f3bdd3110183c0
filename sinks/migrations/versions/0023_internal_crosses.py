"""Internal crosses, changes by strategy of a proposal, and reduced targets

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def upgrade() -> None:
    op.add_column("order_proposals", sa.Column("changes", _json(), nullable=False, server_default="{}"))
    op.alter_column("order_proposals", "changes", server_default=None)
    op.create_table(
        "internal_crosses",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        _text("cross_id"),
        _text("symbol"),
        _amount("quantity"),
        _amount("price"),
        _text("buyer"),
        _text("seller"),
        sa.Column("cause_ids", _json(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("cross_id", name=op.f("pk_internal_crosses")),
    )
    op.create_index(op.f("ix_internal_crosses_seq"), "internal_crosses", ["seq"])
    op.create_index(
        op.f("ix_internal_crosses_cause_ids"),
        "internal_crosses",
        ["cause_ids"],
        postgresql_using="gin",
        postgresql_ops={"cause_ids": "jsonb_path_ops"},
    )
    op.create_table(
        "target_reductions",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        *(_text(name) for name in ("action_id", "strategy", "symbol")),
        *(_amount(name) for name in ("requested", "quantity")),
        *(_text(name) for name in ("check", "found", "limit", "message")),
        _ts(),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_target_reductions")),
    )
    op.create_index(op.f("ix_target_reductions_action_id"), "target_reductions", ["action_id"])
    op.create_index(op.f("ix_target_reductions_strategy_seq"), "target_reductions", ["strategy", "seq"])


def _json() -> postgresql.JSONB:
    return postgresql.JSONB(astext_type=sa.Text())


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), autoincrement=False, nullable=False)


def _amount(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(38, 9), autoincrement=False, nullable=False)


def _ts() -> sa.Column[object]:
    return sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True)


def downgrade() -> None:
    op.drop_table("target_reductions")
    op.drop_table("internal_crosses")
    op.drop_column("order_proposals", "changes")
