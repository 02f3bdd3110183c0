"""Reject orders and changes before they are sent, by the rules of risk that need no account.

The prices in PostgreSQL can be slightly older than those of the risk service, which applies the same rules again.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import Connection, desc, select

from api.problems import UnacceptableOrder
from operators.manual_orders import InvalidTerms, bracket_exits, parse_proposal
from operators.money import ZERO, to_decimal
from operators.risk.commands import amend_terms
from operators.risk.order_rules import first_refusal
from operators.risk.settings import RiskSettings
from schemas.records import Command, OrderTerms
from sinks.accounts import submissions
from sinks.tables import bars, positions


def require_acceptable_order(db: Connection, limits: RiskSettings, command: Command) -> None:
    """Raises UnacceptableOrder if the order of a `SUBMIT_ORDER` command, or an exit of its bracket, breaks a rule."""
    proposal = parse_proposal(command, command.ts_ns)
    if not isinstance(proposal, InvalidTerms):
        _require_acceptable(db, limits, proposal.terms, [one.terms for one in bracket_exits(command, proposal)])


def require_acceptable_change(db: Connection, limits: RiskSettings, command: Command, old: OrderTerms) -> None:
    """Raises UnacceptableOrder if an `AMEND_ORDER` command would break a rule, and BadInput for invalid changes."""
    new = amend_terms(command, old)
    if new.quantity == old.quantity:
        # Risk approved this quantity. It may be the odd remainder of a position, which has changed since.
        new = new._replace(quantity=ZERO)
    _require_acceptable(db, limits, new)


def is_repeated_submission(db: Connection, actor: str, idempotency_key: str | None) -> bool:
    """Whether the actor has used this key before. A retry returns the first result, whatever the market does."""
    if idempotency_key is None:
        return False
    same_key = (submissions.c.actor == actor, submissions.c.idempotency_key == idempotency_key)
    return db.execute(select(submissions.c.command_id).where(*same_key)).first() is not None


def _require_acceptable(
    db: Connection, limits: RiskSettings, terms: OrderTerms, exits: Sequence[OrderTerms] = ()
) -> None:
    instrument = limits.instruments.get(terms.symbol)
    if instrument is None:
        return
    close = select(bars.c.close).where(bars.c.symbol == terms.symbol).order_by(desc(bars.c.ts_ns)).limit(1)
    quantity = select(positions.c.quantity).where(positions.c.symbol == terms.symbol)
    last_close: float | None = db.execute(close).scalar()
    position: Decimal = db.execute(quantity).scalar() or ZERO
    last_price = None if last_close is None else to_decimal(last_close)
    refusal = first_refusal(terms, exits, instrument, position, last_price, limits.price_collar_bps)
    if refusal is not None:
        raise UnacceptableOrder(refusal.message)
