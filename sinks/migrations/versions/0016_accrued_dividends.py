"""Accrued dividends

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_COLUMNS = {"cash_flows": "accrued", "valuations": "accrued_dividends"}


def upgrade() -> None:
    # Rows of earlier releases accrued nothing. The default fills them and is dropped, as every writer has the field.
    for table, name in _COLUMNS.items():
        op.add_column(table, sa.Column(name, sa.Numeric(precision=38, scale=9), nullable=False, server_default="0"))
        op.alter_column(table, name, server_default=None)


def downgrade() -> None:
    for table, name in _COLUMNS.items():
        op.drop_column(table, name)
