"""Signatures of commands

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Commands of earlier releases have no signature; new ones must set the columns.
    for name in ("key_id", "signature"):
        op.add_column("commands", sa.Column(name, sa.Text(), nullable=False, server_default=""))
        op.alter_column("commands", name, server_default=None)


def downgrade() -> None:
    op.drop_column("commands", "signature")
    op.drop_column("commands", "key_id")
