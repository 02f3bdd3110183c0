"""Attached stops of OCO orders; stops that work only while the platform runs

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Earlier releases sent no OCO orders and did not report emulated stops.
    stop_id = sa.Column("stop_client_order_id", sa.Text(), nullable=False, server_default="")
    stops = sa.Column("emulated_stops", postgresql.JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb"))
    op.add_column("order_intents", stop_id)
    op.add_column("order_intents", sa.Column("stop_loss_price", sa.Numeric(38, 9), nullable=True))
    op.add_column("order_intents", sa.Column("stop_loss_limit_price", sa.Numeric(38, 9), nullable=True))
    op.add_column("gateway_statuses", stops)
    op.alter_column("order_intents", "stop_client_order_id", server_default=None)
    op.alter_column("gateway_statuses", "emulated_stops", server_default=None)


def downgrade() -> None:
    op.drop_column("gateway_statuses", "emulated_stops")
    for name in ("stop_loss_limit_price", "stop_loss_price", "stop_client_order_id"):
        op.drop_column("order_intents", name)
