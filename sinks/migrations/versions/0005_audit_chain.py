"""The audit chain and its sealed segments

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_chain",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("row_key", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("fields", sa.SmallInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "position", name=op.f("pk_audit_chain")),
    )
    op.create_index(op.f("ix_audit_chain_table_name_row_key"), "audit_chain", ["table_name", "row_key"], unique=False)
    op.create_table(
        "audit_segments",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("segment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "segment", name=op.f("pk_audit_segments")),
    )


def downgrade() -> None:
    op.drop_table("audit_segments")
    op.drop_index(op.f("ix_audit_chain_table_name_row_key"), table_name="audit_chain")
    op.drop_table("audit_chain")
