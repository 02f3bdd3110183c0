"""One table per record type

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MONEY = sa.Numeric(precision=38, scale=9)
TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def _ts() -> sa.Column[object]:
    return sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True)


def upgrade() -> None:
    op.create_table(
        "bars",
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("open_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("open", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("high", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("low", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("close", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("volume", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("session", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("trading_day", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("traded", sa.Boolean(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("symbol", "ts_ns", name=op.f("pk_bars")),
    )
    op.create_table(
        "commands",
        sa.Column("command_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("actor", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("arguments", JSONB(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_commands")),
    )
    op.create_index(op.f("ix_commands_ts_ns"), "commands", ["ts_ns"], unique=False)
    op.create_table(
        "dead_letters",
        sa.Column("topic", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("partition", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("offset", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("schema_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("raw", sa.LargeBinary(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("topic", "partition", "offset", "stage", name=op.f("pk_dead_letters")),
    )
    op.create_table(
        "executions",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("execution_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("side", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("exec_type", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("quantity", MONEY, autoincrement=False, nullable=False),
        sa.Column("price", MONEY, autoincrement=False, nullable=False),
        sa.Column("fee", MONEY, autoincrement=False, nullable=False),
        sa.Column("leaves_quantity", MONEY, autoincrement=False, nullable=False),
        sa.Column("cum_quantity", MONEY, autoincrement=False, nullable=False),
        sa.Column("filled_at_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bar_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("execution_id", name=op.f("pk_executions")),
    )
    op.create_index(op.f("ix_executions_order_id_seq"), "executions", ["order_id", "seq"], unique=False)
    op.create_index(op.f("ix_executions_seq"), "executions", ["seq"], unique=False)
    op.create_table(
        "features",
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bar_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("close", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("values", JSONB(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("symbol", "ts_ns", name=op.f("pk_features")),
    )
    op.create_table(
        "lot_matches",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("match_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("direction", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("quantity", MONEY, autoincrement=False, nullable=False),
        sa.Column("entry_price", MONEY, autoincrement=False, nullable=False),
        sa.Column("exit_price", MONEY, autoincrement=False, nullable=False),
        sa.Column("pnl", MONEY, autoincrement=False, nullable=False),
        sa.Column("fees", MONEY, autoincrement=False, nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("closed_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lot_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("open_execution_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("close_execution_id", sa.Text(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("match_id", name=op.f("pk_lot_matches")),
    )
    op.create_index(op.f("ix_lot_matches_seq"), "lot_matches", ["seq"], unique=False)
    op.create_index(op.f("ix_lot_matches_symbol_seq"), "lot_matches", ["symbol", "seq"], unique=False)
    op.create_table(
        "lots",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lot_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("quantity", MONEY, autoincrement=False, nullable=False),
        sa.Column("price", MONEY, autoincrement=False, nullable=False),
        sa.Column("execution_id", sa.Text(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("lot_id", name=op.f("pk_lots")),
    )
    op.create_index("ix_lots_open", "lots", ["symbol"], unique=False, postgresql_where=sa.text("quantity <> 0"))
    op.create_table(
        "order_proposals",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("proposal_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("side", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("quantity", MONEY, autoincrement=False, nullable=False),
        sa.Column("order_type", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("limit_price", MONEY, autoincrement=False, nullable=True),
        sa.Column("time_in_force", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("strategy", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reference_price", MONEY, autoincrement=False, nullable=False),
        sa.Column("sizing", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("signal_ids", JSONB(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("proposal_id", name=op.f("pk_order_proposals")),
    )
    op.create_index(op.f("ix_order_proposals_seq"), "order_proposals", ["seq"], unique=False)
    op.create_table(
        "order_refusals",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cause_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("side", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("quantity", MONEY, autoincrement=False, nullable=False),
        sa.Column("check", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("found", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("limit", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("message", sa.Text(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_order_refusals")),
    )
    op.create_index(op.f("ix_order_refusals_cause_id"), "order_refusals", ["cause_id"], unique=False)
    op.create_table(
        "orders",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("cause_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("side", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("quantity", MONEY, autoincrement=False, nullable=False),
        sa.Column("order_type", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("limit_price", MONEY, autoincrement=False, nullable=True),
        sa.Column("time_in_force", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("risk_epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("checks", JSONB(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
    )
    op.create_index(op.f("ix_orders_cause_id"), "orders", ["cause_id"], unique=False)
    op.create_index(op.f("ix_orders_seq"), "orders", ["seq"], unique=False)
    op.create_index(op.f("ix_orders_symbol_seq"), "orders", ["symbol", "seq"], unique=False)
    op.create_table(
        "positions",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("quantity", MONEY, autoincrement=False, nullable=False),
        sa.Column("avg_price", MONEY, autoincrement=False, nullable=False),
        sa.Column("cost_basis", MONEY, autoincrement=False, nullable=False),
        sa.Column("realized_pnl", MONEY, autoincrement=False, nullable=False),
        sa.Column("fees", MONEY, autoincrement=False, nullable=False),
        sa.Column("execution_id", sa.Text(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("symbol", name=op.f("pk_positions")),
    )
    op.create_table(
        "risk_fences",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("cause_id", sa.Text(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_risk_fences")),
    )
    op.create_table(
        "signals",
        sa.Column("symbol", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("strategy", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("direction", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("strength", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("confidence", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("price", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("feature_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("parts", JSONB(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("symbol", "seq", name=op.f("pk_signals")),
    )
    op.create_index(op.f("ix_signals_ts_ns"), "signals", ["ts_ns"], unique=False)
    op.create_table(
        "valuations",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("equity", MONEY, autoincrement=False, nullable=False),
        sa.Column("cash", MONEY, autoincrement=False, nullable=False),
        sa.Column("gross_exposure", MONEY, autoincrement=False, nullable=False),
        sa.Column("net_exposure", MONEY, autoincrement=False, nullable=False),
        sa.Column("unrealized_pnl", MONEY, autoincrement=False, nullable=False),
        sa.Column("realized_pnl", MONEY, autoincrement=False, nullable=False),
        sa.Column("fees", MONEY, autoincrement=False, nullable=False),
        sa.Column("open_positions", sa.BigInteger(), autoincrement=False, nullable=False),
        _ts(),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_valuations")),
    )
    op.create_index(op.f("ix_valuations_ts_ns"), "valuations", ["ts_ns"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_valuations_ts_ns"), table_name="valuations")
    op.drop_table("valuations")
    op.drop_index(op.f("ix_signals_ts_ns"), table_name="signals")
    op.drop_table("signals")
    op.drop_table("risk_fences")
    op.drop_table("positions")
    op.drop_index(op.f("ix_orders_symbol_seq"), table_name="orders")
    op.drop_index(op.f("ix_orders_seq"), table_name="orders")
    op.drop_index(op.f("ix_orders_cause_id"), table_name="orders")
    op.drop_table("orders")
    op.drop_index(op.f("ix_order_refusals_cause_id"), table_name="order_refusals")
    op.drop_table("order_refusals")
    op.drop_index(op.f("ix_order_proposals_seq"), table_name="order_proposals")
    op.drop_table("order_proposals")
    op.drop_index("ix_lots_open", table_name="lots", postgresql_where=sa.text("quantity <> 0"))
    op.drop_table("lots")
    op.drop_index(op.f("ix_lot_matches_symbol_seq"), table_name="lot_matches")
    op.drop_index(op.f("ix_lot_matches_seq"), table_name="lot_matches")
    op.drop_table("lot_matches")
    op.drop_table("features")
    op.drop_index(op.f("ix_executions_seq"), table_name="executions")
    op.drop_index(op.f("ix_executions_order_id_seq"), table_name="executions")
    op.drop_table("executions")
    op.drop_table("dead_letters")
    op.drop_index(op.f("ix_commands_ts_ns"), table_name="commands")
    op.drop_table("commands")
    op.drop_table("bars")
