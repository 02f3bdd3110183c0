"""Decide on the orders, amendments and cancels that people request by commands and trading strategies by actions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from operators.manual_orders import (
    ACTION_PREFIX,
    InvalidTerms,
    OrderRequest,
    action_id_of,
    amended_order_id,
    bracket_exits,
    command_id_of,
    order_id_of,
    parse_proposal,
    request_id_of,
    strategy_of,
    trading_strategy_of,
)
from operators.money import ZERO
from operators.risk.book import RiskBook
from operators.risk.commands import amend_terms
from operators.risk.decisions import OrderDecisions
from operators.risk.ended_orders import EndedOrders
from operators.risk.history import RiskHistory
from operators.risk.order_rules import check_exits
from operators.risk.reduce_only_orders import OWN_POSITION_CLOSED
from operators.risk.verdict import Refusal, number_text
from schemas.errors import BadInput
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    SUBMIT_ORDER,
    Command,
    Execution,
    Order,
    OrderProposal,
    OrderRefusal,
    OrderTerms,
    Record,
)

COMMAND_IDS_MAX = 1000
"""Number of command ids of manual orders that are retained to discard duplicates. A client may retry a command."""


class RequestedOrders:
    """The part of the risk stage that answers `SUBMIT_ORDER`, `AMEND_ORDER` and `CANCEL_ORDER`.

    A trading strategy can amend and cancel its own orders only.

    `command_ids` are the ids of recent manual orders, oldest first.
    """

    def __init__(self, decisions: OrderDecisions, book: RiskBook, history: RiskHistory) -> None:
        self._decisions, self._book, self._history = decisions, book, history
        self.ended = EndedOrders()
        self._command_ids: dict[str, None] = {}

    @property
    def command_ids(self) -> list[str]:
        return list(self._command_ids)

    def restore_command_ids(self, command_ids: Iterable[str]) -> None:
        self._command_ids = dict.fromkeys(command_ids)

    def apply(self, ts_ns: int, request: OrderRequest) -> list[Record]:
        """Decide on an order, an amendment or a cancel. A cancel skips the checks.

        A cancel or amendment of an order that has been replaced applies to its successor.
        """
        refusal = self._refuse_origin(request)
        if refusal is not None:
            order_id = request.arguments.get("order_id", "")
            terms = InvalidTerms(self._book.symbol_of.get(order_id, "?"), "?", ZERO, refusal.found, refusal.limit)
            return [self._decisions.refuse(ts_ns, request_id_of(request), terms, refusal)]
        if request.kind == CANCEL_ORDER:
            order_id = request.arguments.get("order_id", "")
            target_id = self.ended.open_order_of(order_id, self._book.symbol_of)
            if target_id is None:
                return self._refuse_late(ts_ns, request, order_id)
            symbol = self._book.symbol_of[target_id]
            return [self._decisions.cancel(ts_ns, target_id, symbol, request.reason, request_id_of(request))]
        if request.kind == AMEND_ORDER:
            return self._check_amendment(ts_ns, request)
        if type(request) is Command and self._is_repeated(request):
            return []
        proposal = parse_proposal(request, ts_ns)
        if not isinstance(proposal, InvalidTerms):
            return self._check_bracket(ts_ns, request, proposal)
        message = f"order_terms: {proposal.symbol} {proposal.value}, expected {proposal.expected}"
        verdict = Refusal("order_terms", proposal.value, proposal.expected, message)
        return [self._decisions.refuse(ts_ns, request_id_of(request), proposal, verdict)]

    def reduce_excessive(self, ts_ns: int) -> list[Record]:
        """Reduce or cancel the reduce-only orders that exceed the position of their strategy."""
        strategy_orders, out = self._decisions.strategy_orders, list[Record]()
        for one in () if strategy_orders is None else strategy_orders.reduce_only.take_excessive():
            cause_id = one.cause_id or f"tick-{ts_ns}"
            if one.units:
                reduced = self._decisions.reduce(ts_ns, one.order_id, one.units, cause_id)
                self.ended.record_amendment(one.order_id, reduced.order_id)
                out.append(reduced)
            else:
                out.append(self._decisions.cancel(ts_ns, one.order_id, one.symbol, OWN_POSITION_CLOSED, cause_id))
        return out

    def _is_repeated(self, command: Command) -> bool:
        """Whether a client has retried an order. Actions are numbered, so that their readers discard duplicates."""
        if command.command_id in self._command_ids:
            return True
        self._command_ids[command.command_id] = None
        if len(self._command_ids) > COMMAND_IDS_MAX:
            del self._command_ids[next(iter(self._command_ids))]
        return False

    def _refuse_origin(self, request: OrderRequest) -> Refusal | None:
        """Refuse a strategy's request for an order of others, and a command with the id of an action."""
        if type(request) is Command:
            if request.kind == CANCEL_ORDER or not request.command_id.startswith(ACTION_PREFIX):
                return None
            found, limit = f"command_id {ascii(request.command_id)[:64]}", "an id that is not that of an action"
            return Refusal("order_terms", found, limit, f"order_terms: {found}, expected {limit}")
        order_id = request.arguments.get("order_id", "")
        if request.kind == SUBMIT_ORDER or trading_strategy_of(order_id) == strategy_of(request):
            return None
        found, limit = f"order {ascii(order_id)[1:-1][:64]}", f"an order of {strategy_of(request)}"
        return Refusal("open_order", found, limit, f"open_order: {found} is not {limit}")

    def _refuse_late(self, ts_ns: int, request: OrderRequest, order_id: str) -> list[Record]:
        """Answer a request for an order that has ended. A command for an unknown order is ignored."""
        late = self.ended.refusal(order_id)
        if late is not None:
            ended, refusal = late
            terms = InvalidTerms(ended.symbol, ended.side, ZERO, refusal.found, refusal.limit)
        elif type(request) is Command:
            return []
        else:
            found = f"order {ascii(order_id)[1:-1][:64]}"
            refusal = Refusal("open_order", found, "an open order", f"open_order: {found} is unknown")
            terms = InvalidTerms("?", "?", ZERO, refusal.found, refusal.limit)
        return [self._decisions.refuse(ts_ns, request_id_of(request), terms, refusal)]

    def _check_bracket(self, ts_ns: int, request: OrderRequest, proposal: OrderProposal) -> list[Record]:
        """Check an order and the exit orders of its bracket. An entry without its exits is not approved."""
        exits = bracket_exits(request, proposal)
        if exits:
            refusal = self._refuse_bracket(ts_ns, proposal, exits)
            if refusal is not None:
                return [self._decisions.refuse(ts_ns, request_id_of(request), proposal.terms, refusal)]
        decision = self._decisions.decide(ts_ns, proposal, order_id_of(request_id_of(request)))
        if not isinstance(decision, Order):
            return [decision]
        return [
            decision,
            *(self._decisions.decide(ts_ns, one, order_id_of(one.proposal_id)) for one in exits),
        ]

    def _refuse_bracket(self, ts_ns: int, entry: OrderProposal, exits: Sequence[OrderProposal]) -> Refusal | None:
        """Return the first rejection of the entry, of its exit prices or of an exit order."""
        refusal = self._decisions.first_refusal(ts_ns, entry)
        if refusal is None:
            refusal = check_exits(entry.terms, [one.terms for one in exits], self._book.price(entry.terms.symbol))
        for exit_proposal in exits:
            if refusal is not None:
                break
            refusal = self._decisions.first_refusal(ts_ns, exit_proposal, entry.terms)
        return refusal

    def _check_amendment(self, ts_ns: int, request: OrderRequest) -> list[Record]:
        """Check an amended order without the old one. Both count as open until the venue reports the replacement."""
        order_id, book = request.arguments.get("order_id", ""), self._book
        old_id = self.ended.latest(order_id, book.proposals)
        if old_id is None:
            return self._refuse_late(ts_ns, request, order_id)
        old_proposal = book.proposals[old_id]
        old_terms = old_proposal.terms
        try:
            new_terms = amend_terms(request, old_terms)
        except BadInput as error:
            text = str(error)
            verdict = Refusal("order_terms", text, "valid terms", f"order_terms: {old_terms.symbol} {text}")
            return [self._decisions.refuse(ts_ns, request_id_of(request), old_terms, verdict)]
        refusal = check_exits(new_terms, self._waiting_exits(old_id), book.price(new_terms.symbol))
        if refusal is not None:
            return [self._decisions.refuse(ts_ns, request_id_of(request), new_terms, refusal)]
        open_order = book.remove_order(old_id)
        filled = old_terms.quantity - open_order.remaining
        self._history.record_amendment(ts_ns)
        decision: Order | OrderRefusal
        if filled and new_terms.quantity <= filled:
            refusal = _already_filled(new_terms, filled)
            decision = self._decisions.refuse(ts_ns, request_id_of(request), new_terms, refusal)
        else:
            proposal = old_proposal._replace(proposal_id=request_id_of(request), ts_ns=request.ts_ns, terms=new_terms)
            new_id = amended_order_id(request_id_of(request), old_id)
            decision = self._decisions.decide(ts_ns, proposal, new_id, old_id, filled)
        book.restore_order(old_id, open_order)
        if isinstance(decision, Order):
            self.ended.record_amendment(old_id, decision.order_id)
        return [decision]

    def fold_execution(self, report: Execution) -> None:
        """Record the end of an order."""
        self.ended.fold_execution(report)

    def _waiting_exits(self, entry_id: str) -> list[OrderTerms]:
        """Return the terms of the open orders that wait for this entry."""
        parent_id = action_id_of(entry_id) or command_id_of(entry_id)
        terms = (proposal.terms for proposal in self._book.proposals.values())
        return [one for one in terms if one.parent_id == parent_id] if parent_id else []


def _already_filled(terms: OrderTerms, filled: Decimal) -> Refusal:
    """Refuse an amendment to a total quantity of at most the `filled` units."""
    found, filled_text = number_text(terms.quantity), number_text(filled)
    relation = "below" if terms.quantity < filled else "equal to"
    message = f"order_terms: {terms.symbol} new quantity {found} is {relation} the {filled_text} already filled"
    return Refusal("order_terms", found, f"above {filled_text}", message)
