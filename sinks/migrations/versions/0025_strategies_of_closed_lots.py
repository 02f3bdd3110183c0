"""Strategies of closed lots: those of the orders that opened them

Revision ID: 0025
Revises: 0024
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

FILL = """
UPDATE lot_matches SET strategy = coalesce(
    proposal.strategy, substring(opening.order_id from '^ord-act-(.*)-[0-9]+(-tp|-sl)?(~.*)?$'), 'manual'
)
FROM executions opening LEFT JOIN order_proposals proposal ON proposal.proposal_id = opening.cause_id
WHERE opening.execution_id = lot_matches.open_execution_id
"""


def upgrade() -> None:
    op.add_column("lot_matches", sa.Column("strategy", sa.Text(), nullable=False, server_default=""))
    op.execute(FILL)
    op.alter_column("lot_matches", "strategy", server_default=None)
    op.create_index(op.f("ix_lot_matches_strategy_seq"), "lot_matches", ["strategy", "seq"])


def downgrade() -> None:
    op.drop_index(op.f("ix_lot_matches_strategy_seq"), table_name="lot_matches")
    op.drop_column("lot_matches", "strategy")
