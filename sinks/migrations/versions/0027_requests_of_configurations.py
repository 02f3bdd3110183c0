"""Who requested a configuration, and the overrides that a start dropped

Revision ID: 0027
Revises: 0026
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Configurations from before were made by one person and name no dropped override.
    for name in ("requested_by", "request_id"):
        op.add_column("configurations", sa.Column(name, sa.Text(), nullable=False, server_default=""))
        op.alter_column("configurations", name, server_default=None)
    empty = sa.text("'{}'::jsonb")
    op.add_column("configurations", sa.Column("dropped", postgresql.JSONB(), nullable=False, server_default=empty))
    op.alter_column("configurations", "dropped", server_default=None)


def downgrade() -> None:
    for name in ("dropped", "request_id", "requested_by"):
        op.drop_column("configurations", name)
