"""Sub-accounts and positions of trading strategies

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def upgrade() -> None:
    op.create_table(
        "strategy_positions",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("strategy", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("in_universe", sa.Boolean(), autoincrement=False, nullable=False),
        *(_amount(name) for name in ("quantity", "avg_price", "cost_basis", "realized_pnl", "fees")),
        _ts(),
        sa.PrimaryKeyConstraint("strategy", "symbol", name=op.f("pk_strategy_positions")),
    )
    op.create_table(
        "strategy_accounts",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("strategy", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), autoincrement=False, nullable=False),
        *(_amount(name) for name in ("capital", "equity", "cash", "realized_pnl", "unrealized_pnl", "fees")),
        sa.Column("open_positions", sa.BigInteger(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_strategy_accounts")),
    )
    op.create_index(op.f("ix_strategy_accounts_strategy_seq"), "strategy_accounts", ["strategy", "seq"])
    op.create_index(op.f("ix_strategy_accounts_strategy_ts_ns"), "strategy_accounts", ["strategy", "ts_ns"])


def _amount(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(38, 9), autoincrement=False, nullable=False)


def _ts() -> sa.Column[object]:
    return sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True)


def downgrade() -> None:
    op.drop_table("strategy_accounts")
    op.drop_table("strategy_positions")
