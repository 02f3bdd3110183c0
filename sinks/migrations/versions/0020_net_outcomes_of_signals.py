"""Costs and the market's return in the outcomes of signals

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

COLUMNS = ("cost", "market_return")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("signal_outcomes", sa.Column(name, sa.Double(), nullable=False, server_default="0"))
        op.alter_column("signal_outcomes", name, server_default=None)


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("signal_outcomes", name)
