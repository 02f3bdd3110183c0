"""Average entry prices in the broker's account

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The accounts of earlier releases have no average prices.
    empty = sa.text("'{}'::jsonb")
    op.add_column(
        "broker_accounts", sa.Column("average_prices", postgresql.JSONB(), nullable=False, server_default=empty)
    )
    op.alter_column("broker_accounts", "average_prices", server_default=None)


def downgrade() -> None:
    op.drop_column("broker_accounts", "average_prices")
