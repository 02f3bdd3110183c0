"""Cash of mergers for stock and cash

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("corporate_actions", sa.Column("cash_per_share", sa.Numeric(precision=38, scale=9), nullable=True))


def downgrade() -> None:
    op.drop_column("corporate_actions", "cash_per_share")
