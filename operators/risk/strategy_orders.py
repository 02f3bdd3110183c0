"""Check the orders of trading strategies against the limits of each strategy, after the checks of the account.

The positions are those of the sub-accounts. The code of the trading stage computes them here from the same records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.money import ZERO, multiply
from operators.reference_data import ReferenceData
from operators.risk.book import RiskBook
from operators.risk.order_context import OrderContext
from operators.risk.verdict import Refusal, Verdict, check_limit
from operators.strategy_limits import StrategyLimits
from operators.trading.accounts import StrategyAccounts
from schemas.records import (
    BUY,
    Bar,
    CashTransfer,
    CheckResult,
    CorporateAction,
    Execution,
    OrderProposal,
    OrderTerms,
    Record,
    StrategyAction,
)

ORDER_NOTIONAL, POSITION_SIZE = "strategy_max_order_notional", "strategy_max_position_size"
GROSS_EXPOSURE, ORDERS_PER_DAY = "strategy_max_gross_exposure", "strategy_max_orders_per_day"


class StrategyOrders:
    """The limits by strategy, the strategies' positions, and the number of their orders of the day.

    An order that the portfolio sends for the targets of several strategies must be within the limits of each.
    """

    def __init__(
        self, limits: Mapping[str, StrategyLimits], accounts: StrategyAccounts, book: RiskBook, currency: str
    ) -> None:
        self._limits = {name: one for name, one in limits.items() if one.limits_orders}
        self._accounts, self._book = accounts, book
        self._reference = ReferenceData(currency=currency)
        self._trading_day = 0
        self._order_counts: dict[str, int] = {}

    # -- incoming records

    def fold(self, ts_ns: int, records: Sequence[Record]) -> None:
        """Book the records of a time slice, as the trading stage does. Only the quantities are used later."""
        first_bar = next((record for record in records if type(record) is Bar), None)
        if first_bar is not None and first_bar.trading_day > self._trading_day:
            self._trading_day, self._order_counts = first_bar.trading_day, {}
            self._accounts.open_day(ts_ns, first_bar.trading_day, {})
        for due in self._reference.take_due(records):
            if isinstance(due, CorporateAction):
                self._accounts.apply_action(ts_ns, due, self._reference.rate_of(due.currency))
            else:
                self._accounts.apply_rate(due)
        proposals: list[OrderProposal] = []
        for record in records:
            if type(record) is Execution:
                self._accounts.book_execution(record)
            elif type(record) is CashTransfer:
                self._accounts.book_transfer(ts_ns, record)
            elif type(record) is StrategyAction:
                self._accounts.record_action(record)
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
                results.append(verdict)
        return results, None

    def _limited(self, strategy: str) -> list[str]:
        """Return those of the strategies behind a proposal that have limits."""
        return [name for name in strategy.split("+") if name in self._limits]

    def _verdicts(self, name: str, terms: OrderTerms, context: OrderContext) -> list[Verdict]:
        """Check an order against the limits of one strategy. One that only reduces its position is not limited."""
        position, bought, sold = self._open(name, terms.symbol)
        resulting = position + bought + terms.quantity if terms.side == BUY else sold + terms.quantity - position
        limits, verdicts = self._limits[name], list[Verdict]()
        if terms.reduce_only or resulting <= 0:
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

    def _open(self, name: str, symbol: str) -> tuple[Decimal, Decimal, Decimal]:
        """Return a strategy's position in a symbol, and the quantities that its open orders can still buy and sell."""
        bought = sold = ZERO
        risk_position = self._book.positions.get(symbol)
        if risk_position is not None:
            for order_id, order in risk_position.orders.items():
                if order.reduce_only or name not in self._book.proposals[order_id].strategy.split("+"):
                    continue
                if order.side == BUY:
                    bought += order.remaining
                else:
                    sold += order.remaining
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
        return (self._accounts.snapshot(), self._reference.snapshot(), self._trading_day, dict(self._order_counts))

    def restore(self, snapshot: Any) -> None:
        accounts, reference, self._trading_day, self._order_counts = snapshot
        self._accounts.restore(accounts)
        self._reference.restore(reference)
        self._order_counts = dict(self._order_counts)
