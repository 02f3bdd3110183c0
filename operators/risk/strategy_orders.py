"""Check the orders of trading strategies against the limits of each strategy, after the checks of the account.

The positions are those of the sub-accounts. The code of the trading stage computes them here from the same records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.money import ZERO, multiply, portion
from operators.reference_data import ReferenceData
from operators.risk.book import RiskBook
from operators.risk.order_context import OrderContext
from operators.risk.position import OpenOrder
from operators.risk.reduce_only_orders import ReduceOnlyOrders
from operators.risk.verdict import Refusal, Verdict, check_limit, listed_result
from operators.strategy_limits import StrategyLimits
from operators.strategy_shares import match_changes, parse_changes
from operators.trading.accounts import StrategyAccounts
from schemas.records import (
    BUY,
    CANCEL_ORDER,
    SELL,
    Bar,
    CashTransfer,
    CheckResult,
    CorporateAction,
    Execution,
    InternalCross,
    OrderProposal,
    OrderTerms,
    Record,
    Side,
    StrategyAction,
)

ORDER_NOTIONAL, POSITION_SIZE = "strategy_max_order_notional", "strategy_max_position_size"
GROSS_EXPOSURE, ORDERS_PER_DAY = "strategy_max_gross_exposure", "strategy_max_orders_per_day"


class StrategyOrderLimits:
    """The limits by strategy, the strategies' positions, and the number of their orders of the day.

    An order that the portfolio sends for the targets of several strategies must be within the limits of each.
    """

    def __init__(
        self, limits: Mapping[str, StrategyLimits], accounts: StrategyAccounts, book: RiskBook, currency: str
    ) -> None:
        self._limits = {name: one for name, one in limits.items() if one.limits_orders}
        self._accounts, self._book = accounts, book
        self.reduce_only = ReduceOnlyOrders(accounts.accounts, book)
        self._reference = ReferenceData(currency=currency)
        self._trading_day = 0
        self._order_counts: dict[str, int] = {}
        self._cancelled: frozenset[str] = frozenset()  # orders whose cancel a strategy requests in this time slice

    # -- incoming records

    def fold(self, ts_ns: int, records: Sequence[Record]) -> None:
        """Book the records of a time slice, as the trading stage does. Only the quantities are used later."""
        self.reduce_only.begin(records)
        first_bar = next((record for record in records if type(record) is Bar), None)
        if first_bar is not None and first_bar.trading_day > self._trading_day:
            self._trading_day, self._order_counts = first_bar.trading_day, {}
            self._accounts.open_day(ts_ns, first_bar.trading_day, {})
        for due in self._reference.pop_due(records):
            if isinstance(due, CorporateAction):
                self._accounts.apply_action(ts_ns, due, self._reference.rate_of(due.currency))
                self.reduce_only.split(due)
            else:
                self._accounts.apply_rate(due)
        self._cancelled = frozenset(
            record.arguments.get("order_id", "")
            for record in records
            if type(record) is StrategyAction and record.kind == CANCEL_ORDER
        )
        proposals: list[OrderProposal] = []
        for record in records:
            if type(record) is Execution:
                self._accounts.book_execution(record)
            elif type(record) is CashTransfer:
                self._accounts.book_transfer(ts_ns, record)
            elif type(record) is StrategyAction:
                self._accounts.record_action(record)
            elif type(record) is InternalCross:
                self._accounts.book_cross(record)
            elif type(record) is OrderProposal:
                proposals.append(record)
        for proposal in proposals:  # last, because they depend on the actions of the same time slice
            self._accounts.record_proposal(proposal)

    def record_approval(self, strategy: str) -> None:
        """Count an order of `strategy`, which can contain several names ("a+b")."""
        for name in self._limited(strategy):
            self._order_counts[name] = self._order_counts.get(name, 0) + 1

    # -- checks

    def run(self, terms: OrderTerms, context: OrderContext) -> tuple[list[CheckResult], Refusal | None]:
        """Return the results of the strategies' limits, and the first rejection."""
        results: list[CheckResult] = []
        for name in self._limited(context.strategy):
            for verdict in self._verdicts(name, terms, context):
                if isinstance(verdict, Refusal):
                    return results, verdict
                results.append(listed_result(verdict))
        return results, None

    def _limited(self, strategy: str) -> list[str]:
        """Return those of the strategies behind a proposal that have limits."""
        return [name for name in strategy.split("+") if name in self._limits]

    def _verdicts(self, name: str, terms: OrderTerms, context: OrderContext) -> list[Verdict]:
        """Check an order against the limits of one strategy. One that only reduces its position is not limited.

        A reduce-only order reduces the position of the account, which can be that of other strategies. Beside an open
        one, an order that closes the position is not limited if the position can at most change its side.
        """
        if context.changes:
            change = parse_changes(context.changes).get(name, ZERO)
            terms = terms._replace(side=BUY if change > 0 else SELL, quantity=abs(change))
        resulting, held = self._resulting(name, terms), self._held(name, terms)
        only_reduces = resulting <= 0 or (not terms.reduce_only and self._closes_own(name, terms) and resulting <= held)
        limits, verdicts = self._limits[name], list[Verdict]()
        if only_reduces or (terms.reduce_only and _closes(context.entry, terms)):
            return verdicts

        def check(check_name: str, text: str, value: Decimal, limit: Decimal, *, money: bool = True) -> None:
            template = text.format(strategy=name) + (f" {context.limits.account_currency}" if money else "")
            verdicts.append(check_limit(check_name, terms.symbol, template, value, limit, money=money))

        if limits.max_order_notional is not None:
            notional = multiply(terms.quantity, context.unit_value)
            check(ORDER_NOTIONAL, "order of {strategy} is worth {{}}", notional, limits.max_order_notional)
        if limits.max_position_size is not None:
            size = context.last_value(resulting)
            text = "position of {strategy} would be worth {{}}"
            check(POSITION_SIZE, text, size, limits.max_position_size)
        if limits.max_gross_exposure is not None:
            gross = self._gross(name, terms)
            text = "order would raise gross exposure of {strategy} to {{}}"
            check(GROSS_EXPOSURE, text, gross, limits.max_gross_exposure)
        if limits.max_orders_per_day is not None and not context.is_amendment:
            count = Decimal(self._order_counts.get(name, 0) + 1)
            text = "order would be number {{}} of {strategy} today"
            check(ORDERS_PER_DAY, text, count, limits.max_orders_per_day, money=False)
        return verdicts

    def _resulting(self, name: str, terms: OrderTerms) -> Decimal:
        """Return the units that a strategy has on the side of an order after it and its open orders are filled."""
        held = self._held(name, terms)
        if not terms.reduce_only:
            _, bought, sold = self._open(name, terms.symbol)
            return (bought if terms.side == BUY else sold) + terms.quantity - held
        if terms.symbol not in self._book.positions:
            return -held
        reducing = self._reducing(name, terms.symbol, terms.side, terms.group_id)
        return min(terms.quantity + reducing, self._closable(terms.symbol, terms.side)) - held

    def _held(self, name: str, terms: OrderTerms) -> Decimal:
        """Return the units of a strategy that an order can close, negative if the position is on the order's side."""
        position = self._accounts.accounts[name].ledger.quantity(terms.symbol)
        return -position if terms.side == BUY else position

    def _closes_own(self, name: str, terms: OrderTerms) -> bool:
        """Whether an order and the open orders of its side that are not reduce-only close at most the position."""
        bought, sold = self._opening(name, terms.symbol)
        return (bought if terms.side == BUY else sold) + terms.quantity <= self._held(name, terms)

    def _closable(self, symbol: str, side: Side) -> Decimal:
        """Return the units of the account that reduce-only orders of a side can close, with its open orders filled."""
        account = self._book.positions.get(symbol)
        if account is None:
            return ZERO
        closable = (
            account.sells.quantity - account.quantity if side == BUY else account.quantity + account.buys.quantity
        )
        return max(ZERO, closable)

    def _reducing(self, name: str, symbol: str, side: Side, group_id: str = "") -> Decimal:
        """Return the quantity of a strategy's open reduce-only orders of a side, without those of the group `group_id`.

        Only one order of a group fills. An exit closes what its entry opens. An order whose cancel the strategy
        requests in the same time slice is not counted.
        """
        quantities: dict[str, Decimal] = {}
        risk_position = self._book.positions.get(symbol)
        for order_id, order in {} if risk_position is None else risk_position.orders.items():
            proposal = self._book.proposals[order_id]
            own = proposal.terms
            if not own.reduce_only or own.side != side or own.parent_id or order_id in self._cancelled:
                continue
            if name not in proposal.strategy.split("+"):
                continue
            if not own.group_id:
                quantities[order_id] = order.remaining
            elif own.group_id != group_id:
                quantities[own.group_id] = max(order.remaining, quantities.get(own.group_id, ZERO))
        return sum(quantities.values(), ZERO)

    def _opening(self, name: str, symbol: str) -> tuple[Decimal, Decimal]:
        """Return the quantities that a strategy's open orders can buy and sell, without those that only reduce."""
        bought = sold = ZERO
        risk_position = self._book.positions.get(symbol)
        for order_id, order in {} if risk_position is None else risk_position.orders.items():
            if not order.reduce_only:
                own = _own_units(self._book.proposals[order_id], order, name)
                bought, sold = bought + max(own, ZERO), sold + max(-own, ZERO)
        return bought, sold

    def _open(self, name: str, symbol: str) -> tuple[Decimal, Decimal, Decimal]:
        """Return a strategy's position in a symbol, and the quantities that its open orders can still buy and sell."""
        bought, sold = self._opening(name, symbol)
        bought += min(self._reducing(name, symbol, BUY), self._closable(symbol, BUY))
        sold += min(self._reducing(name, symbol, SELL), self._closable(symbol, SELL))
        return self._accounts.accounts[name].ledger.quantity(symbol), bought, sold

    def _gross(self, name: str, terms: OrderTerms) -> Decimal:
        """Return the gross value of a strategy's positions, with its open orders and this one filled."""
        symbols = {position.symbol for position in self._accounts.accounts[name].ledger.positions()}
        gross = ZERO
        for symbol in sorted(symbols | self._book.positions.keys() | {terms.symbol}):
            position, bought, sold = self._open(name, symbol)
            if symbol == terms.symbol:
                bought += terms.quantity if terms.side == BUY else ZERO
                sold += ZERO if terms.side == BUY else terms.quantity
            if quantity := max(abs(position + bought), abs(position - sold)):
                gross += multiply(multiply(quantity, self._price(name, symbol)), self._book.multiplier(symbol))
        return gross

    def _price(self, name: str, symbol: str) -> Decimal:
        """Return the last price of a symbol, or before its first bar the average price of the position."""
        price = self._book.price(symbol)
        if price is None:
            price = self._accounts.accounts[name].entry_price(symbol)
        return ZERO if price is None else price

    # -- state

    def snapshot(self) -> Any:
        counts = (self._trading_day, dict(self._order_counts))
        return (self._accounts.snapshot(), self._reference.snapshot(), *counts, self.reduce_only.snapshot())

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot, after the book. Those of earlier releases contain no reduce-only orders."""
        accounts, reference, self._trading_day, self._order_counts, *reduce_only = snapshot
        self._accounts.restore(accounts)
        self._reference.restore(reference)
        self._order_counts = dict(self._order_counts)
        for state in reduce_only:
            self.reduce_only.restore(state)
        if not reduce_only:
            self.reduce_only.restore_from_book()


def _own_units(proposal: OrderProposal, order: OpenOrder, name: str) -> Decimal:
    """Return the signed units that an open order can still trade for a strategy, with its internal crosses."""
    side = 1 if order.side == BUY else -1
    if not proposal.changes:
        return side * order.remaining if name in proposal.strategy.split("+") else ZERO
    changes = parse_changes(proposal.changes)
    _, rest = match_changes(changes)
    total = sum(rest.values(), ZERO)
    own, change = rest.get(name, ZERO), changes.get(name, ZERO)
    ordered = portion(order.remaining, own, total) * side if total else ZERO
    has_traded = order.remaining < proposal.terms.quantity
    return ordered if has_traded else ordered + change - own


def _closes(entry: OrderTerms | None, terms: OrderTerms) -> bool:
    """Whether an exit closes at most what its entry opens."""
    if entry is None or entry.symbol != terms.symbol:
        return False
    return entry.side != terms.side and terms.quantity <= entry.quantity
