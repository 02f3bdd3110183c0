"""Causes of a signal other than its feature row

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Existing signals have no causes other than their feature row; new signals must set the column.
    op.add_column("signals", sa.Column("cause_ids", JSONB(), nullable=False, server_default="[]"))
    op.alter_column("signals", "cause_ids", server_default=None)


def downgrade() -> None:
    op.drop_column("signals", "cause_ids")
