"""Hashes of the user's source files behind signals and strategy actions

Revision ID: 0028
Revises: 0027
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

TABLES = ("signals", "strategy_actions")


def upgrade() -> None:
    # Earlier releases did not record the hashes; new records must set the column.
    for table in TABLES:
        op.add_column(table, sa.Column("source_sha256", JSONB(), nullable=False, server_default="[]"))
        op.alter_column(table, "source_sha256", server_default=None)


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "source_sha256")
