"""Reduce-only orders of trading strategies: an order must not close more units than its strategy still has.

The venue limits a reduce-only order by the position of the account. If another strategy holds units on the same side,
an order can outlive the position of its own strategy: an internal cross, a manual sale or another order has closed that
position, while the account still has one. Risk then reduces the order to the units that are left, or cancels it.

An order that was larger than the position of its strategy from the start stays unchanged until this position becomes
smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from operators.ledger.events import share_ratio
from operators.ledger.split_ratio import split_quantity
from operators.manual_orders import trading_strategy_of
from operators.money import ONE, ZERO
from operators.risk.book import RiskBook
from operators.trading.accounts import SubAccount
from operators.venue.reduce_only import closable_units
from schemas.records import TRADE, CorporateAction, Execution, InternalCross, OrderProposal, Record

OWN_POSITION_CLOSED: Final = "reduce-only: the position of the strategy is closed"
"""Reason of a cancel."""


class ReducedOrder(NamedTuple):
    """An order with more units than its strategy can close. `units` is its new remaining quantity; 0 cancels it.

    `cause_id` is the id of the last trade in the symbol in this time slice; "" if there was none.
    """

    order_id: str
    symbol: str
    units: Decimal
    cause_id: str


class ReduceOnlyOrders:
    """The open reduce-only orders of trading strategies. Reads `accounts` and `book`.

    For each order, it stores the largest number of units of its strategy that the order could close since its approval.
    """

    def __init__(self, accounts: Mapping[str, SubAccount], book: RiskBook) -> None:
        self._accounts, self._book = accounts, book
        self._covered: dict[str, Decimal] = {}  # order id -> units
        self._reduced: dict[str, None] = {}  # open orders that have been reduced; if that fails, they are cancelled
        self._before: dict[tuple[str, str], Decimal] = {}  # strategy, symbol -> units before this time slice's trades
        self._traded: dict[str, str] = {}  # symbol -> id of its last trade in this time slice

    # -- incoming records

    def begin(self, records: Sequence[Record]) -> None:
        """Start a time slice. Call before its records are booked."""
        self._before, self._traded = {}, {}
        for record in records:
            if type(record) is InternalCross:
                self._note_trade(record.symbol, record.cross_id)
            elif type(record) is Execution and record.exec_type == TRADE:
                self._note_trade(record.symbol, record.execution_id)

    def _note_trade(self, symbol: str, trade_id: str) -> None:
        self._traded[symbol] = trade_id
        for name, account in self._accounts.items():
            if quantity := account.ledger.quantity(symbol):
                self._before.setdefault((name, symbol), quantity)

    def split(self, action: CorporateAction) -> None:
        """Convert the stored units of a symbol's orders to new shares."""
        ratio = share_ratio(action)
        if ratio == ONE:
            return
        for order_id, units in self._covered.items():
            if self._book.symbol_of.get(order_id) == action.symbol:
                self._covered[order_id] = split_quantity(units, ratio)

    def add(self, order_id: str, proposal: OrderProposal) -> None:
        """Add an approved order. The position of its strategy before the trades of this time slice counts too."""
        name, terms = trading_strategy_of(order_id), proposal.terms
        if name is None or name not in self._accounts or not terms.reduce_only:
            return
        before = closable_units(self._before.get((name, terms.symbol), ZERO), terms.side)
        self._covered[order_id] = max(before, self._closable(name, proposal))

    def _closable(self, name: str, proposal: OrderProposal) -> Decimal:
        """Return the units of a strategy that an order can close."""
        terms = proposal.terms
        return closable_units(self._accounts[name].ledger.quantity(terms.symbol), terms.side)

    # -- decisions

    def take_excessive(self) -> list[ReducedOrder]:
        """Return the orders to reduce or cancel. Call after the records of the time slice are booked.

        An order that is still too large after it was reduced is cancelled. The exits of an entry that is still open are
        returned after the entry has ended.
        """
        out: list[ReducedOrder] = []
        for order_id, covered in list(self._covered.items()):
            proposal = self._book.proposals.get(order_id)
            if proposal is None:
                del self._covered[order_id]
                self._reduced.pop(order_id, None)
                continue
            name, terms = trading_strategy_of(order_id), proposal.terms
            assert name is not None, f"{order_id}: only orders of strategies are added"
            own = self._closable(name, proposal)
            self._covered[order_id] = covered = max(covered, own)
            remaining = self._book.positions[terms.symbol].orders[order_id].remaining
            account = closable_units(self._book.quantity(terms.symbol), terms.side)
            is_excessive = own < min(covered, remaining, account)
            if is_excessive and not (self._book.waits_for_parent(order_id) or self._book.is_replaced(order_id)):
                units = ZERO if order_id in self._reduced else own
                if units:
                    self._reduced[order_id] = None
                else:
                    del self._covered[order_id]
                out.append(ReducedOrder(order_id, terms.symbol, units, self._traded.get(terms.symbol, "")))
        return out

    # -- state

    def snapshot(self) -> Any:
        return (dict(self._covered), list(self._reduced))

    def restore(self, snapshot: Any) -> None:
        covered, reduced = snapshot
        self._covered, self._reduced = dict(covered), dict.fromkeys(reduced)

    def restore_from_book(self) -> None:
        """Continue from a snapshot of an earlier release, which contains only the book."""
        self._covered, self._reduced = {}, {}
        for order_id, proposal in self._book.proposals.items():
            self.add(order_id, proposal)
