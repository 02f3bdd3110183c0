"""Risk's decisions on orders: approvals, refusals, cancels and fences, with their sequence numbers."""

from __future__ import annotations

from decimal import Decimal

from operators.manual_orders import InvalidTerms, reduced_order_id
from operators.money import ZERO
from operators.risk.book import RiskBook
from operators.risk.breakers import Breakers
from operators.risk.history import RiskHistory
from operators.risk.order_checks import OrderChecks
from operators.risk.order_context import OrderContext
from operators.risk.position import OpenOrder
from operators.risk.settings import RiskSettings
from operators.risk.strategy_orders import StrategyOrderLimits
from operators.risk.verdict import Refusal
from schemas.records import (
    CheckResult,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    OrderTerms,
    RiskFence,
    TradingState,
    order_id,
)


class OrderDecisions:
    """Decides on orders and numbers the decisions. An approved order is added to the book and the history.

    order_seq    `seq` of the last order, cancel or fence
    refusal_seq  `seq` of the last refusal
    """

    def __init__(
        self,
        settings: RiskSettings,
        book: RiskBook,
        history: RiskHistory,
        breakers: Breakers,
        *,
        lists_checks: bool = True,
    ) -> None:
        self._settings = settings
        self._book = book
        self._history = history
        self._breakers = breakers
        self._checks = OrderChecks(settings, lists_results=lists_checks)
        self.strategy_orders: StrategyOrderLimits | None = None  # the limits of single strategies
        self.order_seq = 0
        self.refusal_seq = 0

    def decide(
        self, ts_ns: int, proposal: OrderProposal, new_id: str = "", replaces: str = "", filled: Decimal = ZERO
    ) -> Order | OrderRefusal:
        """Run all checks. `filled` is the quantity that the replaced order has already traded."""
        terms, remaining = proposal.terms, proposal
        if filled:
            remaining = proposal._replace(terms=terms._replace(quantity=terms.quantity - filled))
        old_terms = self._book.proposals[replaces].terms if replaces else None
        context = self._context(ts_ns, remaining, old_terms=old_terms)
        checks, refusal = self._run_checks(remaining.terms, context)
        if refusal is not None:
            return self.refuse(ts_ns, proposal.proposal_id, terms, refusal)
        self.order_seq += 1
        new_id = new_id or order_id(self.order_seq)
        open_order = OpenOrder(
            side=terms.side,
            remaining=remaining.terms.quantity,
            price=context.unit_value,
            limit=terms.limit_price,
            reduce_only=terms.reduce_only,
        )
        self._book.add_order(new_id, proposal, open_order, replaces)
        self._history.record_approval(remaining.terms, ts_ns)
        if self.strategy_orders is not None:
            self.strategy_orders.reduce_only.add(new_id, proposal)
            if not replaces:
                self.strategy_orders.record_approval(proposal.strategy)
        return Order(
            seq=self.order_seq,
            ts_ns=ts_ns,
            order_id=new_id,
            cause_id=proposal.proposal_id,
            terms=terms,
            risk_epoch=self._book.epoch,
            checks=checks,
            replaces=replaces,
        )

    def first_refusal(self, ts_ns: int, proposal: OrderProposal, entry: OrderTerms | None = None) -> Refusal | None:
        """Run all checks on a new order, which may be an exit of `entry`, without a decision."""
        return self._run_checks(proposal.terms, self._context(ts_ns, proposal, entry=entry))[1]

    def _run_checks(self, terms: OrderTerms, context: OrderContext) -> tuple[list[CheckResult], Refusal | None]:
        """Run the checks of the account, then those of the order's strategies."""
        checks, refusal = self._checks.run(terms, context)
        if refusal is None and self.strategy_orders is not None:
            results, refusal = self.strategy_orders.run(terms, context)
            checks += results
        return checks, refusal

    def _context(
        self,
        ts_ns: int,
        proposal: OrderProposal,
        *,
        old_terms: OrderTerms | None = None,
        entry: OrderTerms | None = None,
    ) -> OrderContext:
        return OrderContext(
            proposal, self._book, self._history, self._breakers, self._settings, ts_ns, old_terms, entry
        )

    def refuse(self, ts_ns: int, cause_id: str, terms: OrderTerms | InvalidTerms, verdict: Refusal) -> OrderRefusal:
        """Refuse an order."""
        self.refusal_seq += 1
        return OrderRefusal(
            seq=self.refusal_seq,
            ts_ns=ts_ns,
            cause_id=cause_id,
            symbol=terms.symbol,
            side=terms.side,
            quantity=terms.quantity,
            check=verdict.check,
            found=verdict.found,
            limit=verdict.limit,
            message=verdict.message,
        )

    def cancel(self, ts_ns: int, open_order_id: str, symbol: str, reason: str, cause_id: str) -> OrderCancel:
        """Cancel an open order."""
        self.order_seq += 1
        return OrderCancel(
            seq=self.order_seq,
            ts_ns=ts_ns,
            order_id=open_order_id,
            symbol=symbol,
            reason=reason,
            cause_id=cause_id,
        )

    def reduce(self, ts_ns: int, old_id: str, units: Decimal, cause_id: str) -> Order:
        """Replace an open order by one for `units` units. It only closes less, so that it needs no checks."""
        old = self._book.proposals[old_id]
        open_order = self._book.positions[old.terms.symbol].orders[old_id]
        terms = old.terms._replace(quantity=old.terms.quantity - open_order.remaining + units)
        proposal = old._replace(proposal_id=cause_id, ts_ns=ts_ns, terms=terms)
        self.order_seq += 1
        new_id = reduced_order_id(old_id, self.order_seq)
        self._book.add_order(new_id, proposal, open_order._replace(remaining=units), old_id)
        if self.strategy_orders is not None:
            self.strategy_orders.reduce_only.add(new_id, proposal)
        return Order(
            seq=self.order_seq,
            ts_ns=ts_ns,
            order_id=new_id,
            cause_id=cause_id,
            terms=terms,
            risk_epoch=self._book.epoch,
            checks=[],
            replaces=old_id,
        )

    def fence(self, ts_ns: int, state: TradingState, reason: str, cause_id: str) -> RiskFence:
        """Start a new risk epoch with a fence."""
        self._book.epoch += 1
        self.order_seq += 1
        return RiskFence(
            seq=self.order_seq, ts_ns=ts_ns, epoch=self._book.epoch, state=state, reason=reason, cause_id=cause_id
        )
