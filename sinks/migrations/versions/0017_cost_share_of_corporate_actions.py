"""Cost share of corporate actions

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("corporate_actions", sa.Column("cost_share", sa.Numeric(precision=38, scale=9), nullable=True))


def downgrade() -> None:
    op.drop_column("corporate_actions", "cost_share")
