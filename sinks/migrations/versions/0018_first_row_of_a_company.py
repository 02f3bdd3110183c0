"""First feature row of the company that trades under a symbol

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("features", sa.Column("first_seq", sa.BigInteger(), nullable=False, server_default="1"))
    op.alter_column("features", "first_seq", server_default=None)


def downgrade() -> None:
    op.drop_column("features", "first_seq")
