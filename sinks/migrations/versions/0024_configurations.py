"""Configurations: the settings in force, who changed them and why

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"


def upgrade() -> None:
    op.create_table(
        "configurations",
        _text("configuration_id"),
        sa.Column("ts_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        *(_text(name) for name in ("actor", "reason", "release", "settings", "sha256")),
        *(_json(name) for name in ("overrides", "sources", "source_sha256", "signers")),
        _text("key_id"),
        _text("signature"),
        sa.Column("ts", sa.DateTime(timezone=True), sa.Computed(TS_SQL, persisted=False), nullable=True),
        sa.PrimaryKeyConstraint("configuration_id", name=op.f("pk_configurations")),
    )
    op.create_index(op.f("ix_configurations_number"), "configurations", ["number"])


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), autoincrement=False, nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), autoincrement=False, nullable=False)


def downgrade() -> None:
    op.drop_table("configurations")
