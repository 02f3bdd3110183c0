"""Margin calls: compare equity with the maintenance margin, and reduce the positions if it does not suffice."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.money import ZERO
from operators.risk.book import RiskBook
from operators.risk.margin import MarginPosition, MarginSettings, forced_reduction, requirement
from operators.risk.settings import RiskSettings
from operators.risk.usage import margin_positions
from schemas.records import BUY, DAY, MARKET, SELL, OrderProposal, OrderTerms

MARGIN_CALL = "margin_call"
"""Measure of the margin-call event, and strategy name of the orders of a forced reduction."""


MARGIN_CAUSE_PREFIX = "margin-"


class MarginStatus(NamedTuple):
    """The equity of a book, the maintenance margin that its positions require, and these positions."""

    equity: Decimal
    maintenance: Decimal
    positions: list[MarginPosition]

    @property
    def is_short(self) -> bool:
        """Whether the equity is below the maintenance margin."""
        return self.equity < self.maintenance


def margin_status(book: RiskBook, rules: MarginSettings, limits: RiskSettings) -> MarginStatus | None:
    """Return the margin status at last prices; None while a symbol in the book has no price."""
    equity = book.equity()
    if equity is None:
        return None
    positions = margin_positions(book, limits)
    maintenance = sum(
        (
            requirement(rules, position.instrument, position.quantity, position.price).maintenance
            for position in positions
        ),
        ZERO,
    )
    return MarginStatus(equity, maintenance, positions)


def margin_cause(ts_ns: int) -> str:
    """Return the cause id of the records of a margin call in a time slice."""
    return f"{MARGIN_CAUSE_PREFIX}{ts_ns}"


def reducing_proposals(ts_ns: int, status: MarginStatus, rules: MarginSettings) -> list[OrderProposal]:
    """Return reduce-only market orders that reduce the positions until equity covers the maintenance margin.

    `forced_reduction` selects the trades.
    """
    return [
        OrderProposal(
            seq=0,
            ts_ns=ts_ns,
            proposal_id=f"{margin_cause(ts_ns)}-{symbol}",
            terms=OrderTerms(
                symbol=symbol,
                side=BUY if quantity > 0 else SELL,
                quantity=abs(quantity),
                order_type=MARKET,
                time_in_force=DAY,
                reduce_only=True,
            ),
            strategy=MARGIN_CALL,
            reference_price=ZERO,
            sizing="margin call",
            signal_ids=[],
        )
        for symbol, quantity in forced_reduction(rules, status.equity, status.positions)
    ]


def has_open_reduction(book: RiskBook) -> bool:
    """Whether an order of an earlier forced reduction is still open."""
    return any(proposal.strategy == MARGIN_CALL for proposal in book.proposals.values())
