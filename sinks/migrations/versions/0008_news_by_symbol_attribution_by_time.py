"""Indexes: news by symbol, attribution by time

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # `symbols` is a list; only an inverted index finds the lists that hold a symbol.
    op.create_index(
        op.f("ix_news_symbols"),
        "news",
        ["symbols"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"symbols": "jsonb_path_ops"},
    )
    # Rows of one time are read together, and the latest ones are read every few seconds.
    op.create_index(op.f("ix_attribution_ts_ns"), "attribution", ["ts_ns"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_attribution_ts_ns"), table_name="attribution")
    op.drop_index(op.f("ix_news_symbols"), table_name="news")
