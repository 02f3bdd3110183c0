"""News, fundamentals, reference data, quotes, the broker, feedback, late records

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT, LONG, BOOL, BYTES = sa.Text(), sa.BigInteger(), sa.Boolean(), sa.LargeBinary()
DOUBLE: sa.Double[float] = sa.Double()
MONEY, JSON = sa.Numeric(precision=38, scale=9), postgresql.JSONB(astext_type=sa.Text())
TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def _table(name: str, key: tuple[str, ...], *columns: tuple[Any, ...]) -> None:
    """Create a table. Columns are (name, type) or (name, type, nullable); `ts` is the timestamp for people."""
    op.create_table(
        name,
        *(sa.Column(c[0], c[1], autoincrement=False, nullable=len(c) > 2) for c in columns),
        sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True),
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")),
    )


def upgrade() -> None:
    _table(
        "quotes",
        ("symbol", "seq"),
        ("symbol", TEXT),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("bid", DOUBLE),
        ("ask", DOUBLE),
        ("bid_size", DOUBLE),
        ("ask_size", DOUBLE),
    )
    op.create_index(op.f("ix_quotes_symbol_ts_ns"), "quotes", ["symbol", "ts_ns"], unique=False)
    _table(
        "trades",
        ("symbol", "seq"),
        ("symbol", TEXT),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("price", DOUBLE),
        ("size", DOUBLE),
    )
    op.create_index(op.f("ix_trades_symbol_ts_ns"), "trades", ["symbol", "ts_ns"], unique=False)
    _table(
        "news",
        ("news_id",),
        ("news_id", TEXT),
        ("ts_ns", LONG),
        ("published_ns", LONG),
        ("source", TEXT),
        ("headline", TEXT),
        ("summary", TEXT),
        ("url", TEXT),
        ("symbols", JSON),
    )
    op.create_index(op.f("ix_news_ts_ns"), "news", ["ts_ns"], unique=False)
    _table(
        "fundamentals",
        ("fundamentals_id",),
        ("fundamentals_id", TEXT),
        ("ts_ns", LONG),
        ("symbol", TEXT),
        ("period_end", LONG),
        ("filed", LONG),
        ("form", TEXT),
        ("source", TEXT),
        ("facts", JSON),
        ("ratios", JSON),
        ("currency", TEXT),
    )
    op.create_index(op.f("ix_fundamentals_symbol_filed"), "fundamentals", ["symbol", "filed"], unique=False)
    _table(
        "corporate_actions",
        ("action_id",),
        ("action_id", TEXT),
        ("ts_ns", LONG),
        ("kind", TEXT),
        ("symbol", TEXT),
        ("ex_date", LONG),
        ("pay_date", LONG),
        ("ratio", MONEY, True),
        ("amount", MONEY, True),
        ("currency", TEXT),
        ("new_symbol", TEXT),
        ("source", TEXT),
    )
    op.create_index(op.f("ix_corporate_actions_symbol"), "corporate_actions", ["symbol"], unique=False)
    _table(
        "exchange_rates",
        ("rate_id",),
        ("rate_id", TEXT),
        ("ts_ns", LONG),
        ("base", TEXT),
        ("quote", TEXT),
        ("rate", MONEY),
        ("source", TEXT),
    )
    op.create_index(
        op.f("ix_exchange_rates_base_quote_ts_ns"), "exchange_rates", ["base", "quote", "ts_ns"], unique=False
    )
    _table(
        "llm_requests",
        ("request_id",),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("request_id", TEXT),
        ("news_id", TEXT),
        ("model", TEXT),
        ("prompt", TEXT),
    )
    op.create_index(op.f("ix_llm_requests_seq"), "llm_requests", ["seq"], unique=False)
    _table(
        "llm_answers",
        ("answer_id",),
        ("answer_id", TEXT),
        ("ts_ns", LONG),
        ("request_id", TEXT),
        ("news_id", TEXT),
        ("model", TEXT),
        ("prompt", TEXT),
        ("answer", TEXT),
        ("tokens_in", LONG),
        ("tokens_out", LONG),
        ("error", TEXT),
    )
    op.create_index(op.f("ix_llm_answers_request_id"), "llm_answers", ["request_id"], unique=False)
    _table(
        "sentiment",
        ("seq",),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("symbol", TEXT),
        ("news_id", TEXT),
        ("score", DOUBLE),
        ("confidence", DOUBLE),
        ("method", TEXT),
        ("model", TEXT),
        ("answer_id", TEXT),
        ("parts", JSON),
    )
    op.create_index(op.f("ix_sentiment_news_id"), "sentiment", ["news_id"], unique=False)
    op.create_index(op.f("ix_sentiment_symbol_ts_ns"), "sentiment", ["symbol", "ts_ns"], unique=False)
    _table(
        "predictions",
        ("symbol", "seq"),
        ("symbol", TEXT),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("model", TEXT),
        ("model_hash", TEXT),
        ("feature_id", TEXT),
        ("horizon_bars", LONG),
        ("expected_return", DOUBLE),
        ("probability_up", DOUBLE),
        ("drift", DOUBLE),
    )
    op.create_index(op.f("ix_predictions_ts_ns"), "predictions", ["ts_ns"], unique=False)
    _table(
        "gateway_statuses",
        ("seq",),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("state", TEXT),
        ("broker", TEXT),
        ("reason", TEXT),
        ("cause_id", TEXT),
    )
    _table(
        "order_intents",
        ("intent_id",),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("intent_id", TEXT),
        ("kind", TEXT),
        ("order_id", TEXT),
        ("client_order_id", TEXT),
        ("symbol", TEXT),
        ("side", TEXT),
        ("quantity", MONEY),
        ("order_type", TEXT),
        ("limit_price", MONEY, True),
        ("stop_price", MONEY, True),
        ("trail_amount", MONEY, True),
        ("trail_percent", MONEY, True),
        ("time_in_force", TEXT),
        ("extended_hours", BOOL),
        ("emulated", TEXT),
        ("risk_epoch", LONG),
    )
    op.create_index(op.f("ix_order_intents_order_id"), "order_intents", ["order_id"], unique=False)
    op.create_index(op.f("ix_order_intents_seq"), "order_intents", ["seq"], unique=False)
    _table(
        "broker_updates",
        ("update_id",),
        ("update_id", TEXT),
        ("ts_ns", LONG),
        ("broker", TEXT),
        ("client_order_id", TEXT),
        ("broker_order_id", TEXT),
        ("event", TEXT),
        ("symbol", TEXT),
        ("side", TEXT),
        ("quantity", MONEY),
        ("price", MONEY),
        ("cum_quantity", MONEY),
        ("happened_ns", LONG),
        ("text", TEXT),
    )
    op.create_index(op.f("ix_broker_updates_client_order_id"), "broker_updates", ["client_order_id"], unique=False)
    _table(
        "broker_accounts",
        ("update_id",),
        ("update_id", TEXT),
        ("ts_ns", LONG),
        ("broker", TEXT),
        ("cash", MONEY),
        ("equity", MONEY),
        ("positions", JSON),
        ("open_orders", JSON),
    )
    op.create_index(op.f("ix_broker_accounts_ts_ns"), "broker_accounts", ["ts_ns"], unique=False)
    _table(
        "cash_flows",
        ("cash_flow_id",),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("cash_flow_id", TEXT),
        ("kind", TEXT),
        ("symbol", TEXT),
        ("amount", MONEY),
        ("quantity", MONEY),
        ("cause_id", TEXT),
    )
    op.create_index(op.f("ix_cash_flows_seq"), "cash_flows", ["seq"], unique=False)
    op.create_index(op.f("ix_cash_flows_symbol"), "cash_flows", ["symbol"], unique=False)
    _table(
        "weights",
        ("seq",),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("weights", JSON),
        ("scores", JSON),
        ("reason", TEXT),
    )
    _table(
        "signal_outcomes",
        ("seq",),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("signal_id", TEXT),
        ("symbol", TEXT),
        ("strategy", TEXT),
        ("direction", LONG),
        ("confidence", DOUBLE),
        ("horizon_bars", LONG),
        ("entry_price", DOUBLE),
        ("exit_price", DOUBLE),
        ("gained", DOUBLE),
    )
    op.create_index(op.f("ix_signal_outcomes_signal_id"), "signal_outcomes", ["signal_id"], unique=False)
    op.create_index(op.f("ix_signal_outcomes_strategy"), "signal_outcomes", ["strategy"], unique=False)
    _table(
        "attribution",
        ("seq",),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("strategy", TEXT),
        ("realized_pnl", MONEY),
        ("unrealized_pnl", MONEY),
        ("fees", MONEY),
        ("cash_flows", MONEY),
        ("trades", LONG),
    )
    op.create_index(op.f("ix_attribution_strategy_ts_ns"), "attribution", ["strategy", "ts_ns"], unique=False)
    _table(
        "model_scores",
        ("seq",),
        ("seq", LONG),
        ("ts_ns", LONG),
        ("model", TEXT),
        ("model_hash", TEXT),
        ("predictions", LONG),
        ("hit_rate", DOUBLE),
        ("brier", DOUBLE),
        ("drift", DOUBLE),
    )
    op.create_index(op.f("ix_model_scores_model_hash"), "model_scores", ["model_hash"], unique=False)
    _table(
        "late_records",
        ("topic", "partition", "offset", "stage"),
        ("topic", TEXT),
        ("partition", LONG),
        ("offset", LONG),
        ("stage", TEXT),
        ("ts_ns", LONG),
        ("record_ts_ns", LONG),
        ("reason", TEXT),
        ("schema_id", LONG, True),
        ("raw", BYTES),
    )


def downgrade() -> None:
    for table in (
        "quotes",
        "trades",
        "news",
        "fundamentals",
        "corporate_actions",
        "exchange_rates",
        "llm_requests",
        "llm_answers",
        "sentiment",
        "predictions",
        "gateway_statuses",
        "order_intents",
        "broker_updates",
        "broker_accounts",
        "cash_flows",
        "weights",
        "signal_outcomes",
        "attribution",
        "model_scores",
        "late_records",
    ):
        op.drop_table(table)
