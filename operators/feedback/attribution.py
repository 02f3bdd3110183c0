"""Attribute the ledger's P&L to strategies. The parts sum exactly to the ledger's totals.

Each strategy has its own quantity and average cost per symbol. The quantities sum to the ledger's quantity, and the
amounts paid and received sum to the ledger's. A strategy's total (realized + unrealized) therefore does not depend on
the ledger's lot method. The split into realized and unrealized follows the ledger: the difference between the ledger's
cost and the sum of the strategies' costs is allocated to the holders by quantity.

All amounts have nine decimal places. `operators/feedback/trade_allocation.py` allocates trades and amounts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

from operators.feedback.attribution_rows import attribution_rows
from operators.feedback.strategy_positions import (
    AttributedPosition,
    Distribution,
    StrategyTotals,
    SymbolAttribution,
    book_trade,
    distribute,
    split_positions,
)
from operators.feedback.trade_allocation import UNATTRIBUTED, TradeAllocation
from operators.instruments import Instrument
from operators.ledger.events import share_ratio
from operators.ledger.split_ratio import ROUNDING_REMAINDER
from operators.manual_orders import MANUAL
from operators.money import ONE, ZERO, multiply, quantize
from operators.strategy_shares import allocate_by_weight, balance_amounts, largest_holder
from schemas.records import (
    BUY,
    CASH_DIVIDEND,
    DELISTING,
    EXTERNAL_FLOWS,
    MERGER_CASH,
    TRADE,
    Attribution,
    CashFlow,
    CorporateAction,
    Execution,
    InternalCross,
    Position,
    Valuation,
)

ACCOUNT = "account"
"""Row of amounts without a symbol, such as interest on the account."""


class AttributionBook:
    """Process executions and the ledger's records, and compute the rows of a Valuation."""

    def __init__(
        self, instruments: Iterable[Instrument] = (), currency: str = "USD", trading: Collection[str] = ()
    ) -> None:
        """`currency` is the account currency, `trading` are the names of the strategies with a sub-account."""
        instrument_list = list(instruments)
        self._multipliers = {
            instrument.symbol: instrument.multiplier for instrument in instrument_list if instrument.multiplier != 1
        }
        self._currencies = {
            instrument.symbol: instrument.currency for instrument in instrument_list if instrument.currency != currency
        }
        self._rates: dict[str, Decimal] = {}
        self._attributions: dict[str, SymbolAttribution] = {}
        self._totals: dict[str, StrategyTotals] = {}
        self._trading = frozenset(trading)  # with those that the settings no longer name
        self.allocation = TradeAllocation(self._trading)  # receives the signals and proposals
        # Of the current time slice: fills, and corporate actions whose Positions the ledger publishes later in it.
        self._executions: dict[str, Execution] = {}
        self._ratios: dict[str, Decimal] = {}  # action id -> ratio
        self._renames: dict[str, tuple[str, str]] = {}  # action id -> old and new symbol
        self._distributions: dict[str, Distribution] = {}

    # -- incoming records ----------------------------------------------------------------------------------------------

    def record_execution(self, execution: Execution) -> None:
        """Store a fill until its ledger records arrive later in the time slice."""
        if execution.exec_type == TRADE:
            self._executions[execution.execution_id] = execution

    def record_position(self, position: Position) -> None:
        """Attribute a change of the ledger: an execution or a corporate action."""
        renamed = self._renames.get(position.execution_id)
        if renamed is not None and position.symbol == renamed[0]:
            del self._renames[position.execution_id]
            self._rename_book(*renamed)
            return
        book = self._attributions.get(position.symbol)
        if book is None:
            if not position.quantity and not position.realized_pnl:
                return  # the old symbol of a symbol change, whose position has moved
            book = self._attributions[position.symbol] = SymbolAttribution()
        change = position.quantity - book.quantity
        cost, realized = position.cost_basis - book.cost, position.realized_pnl - book.realized
        book.quantity, book.cost, book.realized = position.quantity, position.cost_basis, position.realized_pnl
        if not position.quantity and (holders := book.holders()):
            book.last_holders = holders
        execution = self._executions.pop(position.execution_id, None)
        if execution is None and position.symbol in self._distributions:
            self._book_distribution(book, position.symbol, cost - realized)
        elif execution is None and (change or cost != realized):
            ratio = self._ratios.pop(position.execution_id, ONE)
            if ratio != ONE and book.signed_holders():
                self._split_holders(book, cost - realized, ratio)
            else:
                self._book_corporate_action(book, position.quantity, cost, realized)
        elif execution is not None:
            traded = quantize(execution.quantity if execution.side == BUY else -execution.quantity)
            dropped = change - traded  # what is too small to trade, after a split
            if abs(dropped) > ROUNDING_REMAINDER:
                traded, dropped = change, ZERO  # the books started before this service
            # The amount paid, signed like the quantity, is the decrease of cash.
            self._book_fill(book, execution, traded, cost - realized)
            if dropped and (holders := book.signed_holders()):
                name = largest_holder(dict(holders))
                book_trade(book.positions[name], self._totals_of(name), dropped, ZERO)
        for name in [name for name, held in book.positions.items() if not (held.quantity or held.cost)]:
            del book.positions[name]
        if not position.quantity and self._renames:
            # The account has sold its fraction of a share in a merger, so that the ledger has nothing to rename.
            for action_id, symbols in list(self._renames.items()):
                if symbols[0] == position.symbol:
                    del self._renames[action_id]
                    self._rename_book(*symbols)

    def record_cross(self, cross: InternalCross) -> None:
        """Attribute a trade between two strategies: what the buyer pays, the seller receives."""
        book = self._attributions.get(cross.symbol)
        if book is None:
            book = self._attributions[cross.symbol] = SymbolAttribution()
        value = multiply(multiply(cross.quantity, cross.price), self.unit_value(cross.symbol))
        quantities = {name: position.quantity for name, position in book.positions.items()}
        amounts = self.allocation.cross(cross, quantities)
        for side in (1, -1):
            parts = [(name, amount) for name, amount in amounts if amount * side > 0]
            paid = allocate_by_weight(value * side, [(name, abs(amount)) for name, amount in parts])
            for (name, amount), (_, part) in zip(parts, paid, strict=True):
                position, totals = book.positions.setdefault(name, AttributedPosition()), self._totals_of(name)
                book_trade(position, totals, amount, part)
                totals.trades += 1

    def record_cash_flow(self, flow: CashFlow) -> None:
        """Attribute a cash flow to the holders of its symbol. Deposits and withdrawals are no P&L.

        A dividend is attributed at its ex-date, when it accrues, and not again when it is paid.
        """
        if flow.kind in EXTERNAL_FLOWS:
            return
        book = self._attributions.get(flow.symbol)
        holders = [] if book is None else book.signed_holders() or book.last_holders
        for name, amount in allocate_by_weight(quantize(flow.amount + flow.accrued), holders or [(ACCOUNT, ONE)]):
            self._totals_of(name).cash_flows += amount

    def set_rate(self, currency: str, rate: Decimal) -> None:
        """Set the value of one unit of `currency` in account currency."""
        self._rates[currency] = quantize(rate)

    def rename(self, action: CorporateAction) -> None:
        """Rename a symbol, with the ledger's Position of the old name; at once if the account has no position.

        In a merger, the ledger's records of the exchange come before that Position.
        """
        old_book = self._attributions.get(action.symbol)
        self.allocation.rename(action.symbol, action.new_symbol)
        if old_book is not None and old_book.quantity:
            self._renames[action.action_id] = (action.symbol, action.new_symbol)
        elif old_book is not None:
            self._rename_book(action.symbol, action.new_symbol)

    def _rename_book(self, old: str, new: str) -> None:
        """Move the positions to the new name. Without a position of the account, its realized P&L stays.

        A strategy that is long under one name and short under the other closes both as far as they are equal.
        """
        old_book = self._attributions.pop(old)
        book = self._attributions.setdefault(new, SymbolAttribution())
        if old_book.quantity:
            book.quantity += old_book.quantity
            book.cost += old_book.cost
            book.realized += old_book.realized
        else:
            self._attributions[old] = SymbolAttribution()
            self._attributions[old].realized = old_book.realized
        book.last_holders = book.last_holders or old_book.last_holders
        for name, old_position in old_book.positions.items():
            position = book.positions.setdefault(name, AttributedPosition())
            book_trade(position, self._totals_of(name), old_position.quantity, old_position.cost)

    def begin_slice(self) -> None:
        """Start a time slice, before its corporate actions."""
        self._ratios, self._renames, self._distributions = {}, {}, {}

    def split(self, action: CorporateAction) -> None:
        """Record a split. Call before the ledger's Position: each strategy keeps its fraction of a share."""
        self._ratios[action.action_id] = share_ratio(action)
        self.allocation.split(action.symbol, share_ratio(action))

    def apply_between_strategies(self, action: CorporateAction, rate: Decimal) -> None:
        """Apply an action to positions that sum to 0, for which the ledger has no record.

        `rate` converts the action's currency. What the strategies that are long receive, those that are short pay.
        """
        book, ratio = self._attributions.get(action.symbol), share_ratio(action)
        holders = [] if book is None or book.quantity else book.signed_holders()
        if book is None or not holders:
            return
        if action.kind in (CASH_DIVIDEND, DELISTING, MERGER_CASH):
            unit_value = rate if action.kind == CASH_DIVIDEND else self.unit_value(action.symbol)
            amount = action.cash_per_share if action.kind == MERGER_CASH else action.amount
            per_unit = multiply(amount or ZERO, unit_value)
            for name, value in balance_amounts([(name, multiply(quantity, per_unit)) for name, quantity in holders]):
                totals, position = self._totals_of(name), book.positions[name]
                if action.kind == DELISTING:
                    book_trade(position, totals, -position.quantity, -value)
                elif action.kind == MERGER_CASH:
                    position.cost -= value
                else:
                    totals.cash_flows += value
        elif ratio != ONE:
            self._split_holders(book, ZERO, ratio)

    def spin_off(self, action: CorporateAction) -> None:
        """Assign the distributed shares to the holders of a symbol. Call before the ledger's Position of these shares.

        A strategy with a sub-account receives the shares for its position, with their part of its cost, as there.
        All other shares belong to the manual position, as in the portfolio.
        """
        book = self._attributions.get(action.symbol)
        if book is None or not book.positions:
            return
        new_book = self._attributions.setdefault(action.new_symbol, SymbolAttribution())
        trading = {name: self._totals_of(name) for name in book.positions if name in self._trading}
        paid = distribute(action, book, new_book, trading, self.unit_value(action.new_symbol))
        if book.quantity:
            self._distributions[action.symbol] = self._distributions[action.new_symbol] = Distribution(new_book, paid)
        else:
            self._book_manual_rest(new_book, paid)

    def _book_distribution(self, book: SymbolAttribution, symbol: str, paid: Decimal) -> None:
        """Process the ledger's Position of a distributing symbol, or of the distributed shares, which follows it."""
        distribution = self._distributions.pop(symbol)
        distribution.paid += paid
        if book is distribution.new_book:
            self._book_manual_rest(book, distribution.paid)

    def _book_manual_rest(self, book: SymbolAttribution, paid: Decimal) -> None:
        """Assign the units of the account that belong to no strategy to the manual position, for `paid`."""
        rest = book.quantity - sum((position.quantity for position in book.positions.values()), ZERO)
        if rest:
            position = book.positions.setdefault(MANUAL, AttributedPosition())
            book_trade(position, self._totals_of(MANUAL), rest, paid)
        elif paid:
            self._totals_of(MANUAL).realized -= paid

    def _split_holders(self, book: SymbolAttribution, paid: Decimal, ratio: Decimal) -> None:
        """Split the position of each strategy. The largest one takes the difference to the account, and its cash."""
        name, difference = split_positions(book, ratio)
        for holder, held in book.positions.items():
            if held.cost and not held.quantity:  # too small to trade
                self._totals_of(holder).realized -= held.cost
                held.cost = ZERO
        position, totals = book.positions[name], self._totals_of(name)
        if difference:
            book_trade(position, totals, difference, paid)
        else:
            totals.realized -= paid

    def _book_fill(self, book: SymbolAttribution, execution: Execution, change: Decimal, paid: Decimal) -> None:
        opposite = {
            name: position.quantity for name, position in book.positions.items() if position.quantity * change < 0
        }
        allocations = self.allocation.allocate(execution, change, opposite)
        if len(allocations) == 1:
            # Fast path: nearly every fill belongs to one strategy.
            ((name, quantity),) = allocations
            totals = self._totals_of(name)
            book_trade(book.positions.setdefault(name, AttributedPosition()), totals, quantity, paid)
            totals.fees += quantize(execution.fee)
            totals.trades += 1
            return
        weights = [(name, abs(quantity)) for name, quantity in allocations]
        values = [value for _, value in allocate_by_weight(paid, weights)]
        for (name, quantity), value in zip(allocations, values, strict=True):
            book_trade(book.positions.setdefault(name, AttributedPosition()), self._totals_of(name), quantity, value)
        for name, fee in allocate_by_weight(quantize(execution.fee), weights):
            self._totals_of(name).fees += fee
        for name in dict.fromkeys(name for name, _ in allocations):
            self._totals_of(name).trades += 1

    def _book_corporate_action(
        self, book: SymbolAttribution, quantity: Decimal, cost: Decimal, realized: Decimal
    ) -> None:
        """Attribute a corporate action. Each strategy keeps its share of the position and of the cash.

        A strategy that is short pays what the others receive.
        """
        holders = book.signed_holders()
        if not holders:
            holders = [(UNATTRIBUTED, ONE)]
            book.positions[UNATTRIBUTED] = AttributedPosition()
        if not quantity:
            for name, paid in allocate_by_weight(cost - realized, holders):
                position = book.positions[name]
                self._totals_of(name).realized -= paid + position.cost
                position.quantity = position.cost = ZERO
            return
        for (name, allocated), (_, cost_share), (_, gain) in zip(
            allocate_by_weight(quantity, holders),
            allocate_by_weight(cost, holders),
            allocate_by_weight(realized, holders),
            strict=True,
        ):
            position = book.positions[name]
            position.quantity = allocated
            position.cost += cost_share
            self._totals_of(name).realized += gain

    def _totals_of(self, name: str) -> StrategyTotals:
        totals = self._totals.get(name)
        if totals is None:
            totals = self._totals[name] = StrategyTotals()
        return totals

    # -- output --------------------------------------------------------------------------------------------------------

    def rows(self, valuation: Valuation, closes: Mapping[str, float], seq: int) -> list[Attribution]:
        """Return one row per strategy that ever traded, by name, with `seq` numbers starting at `seq`."""
        books = [(symbol, book, self.unit_value(symbol)) for symbol, book in self._attributions.items()]
        return attribution_rows(valuation, self._totals, books, closes, seq)

    def unit_value(self, symbol: str) -> Decimal:
        """The value of one unit in account currency at a price of 1, as in the ledger."""
        multiplier, currency = self._multipliers.get(symbol, ONE), self._currencies.get(symbol)
        return multiplier if currency is None else multiply(multiplier, self._rates.get(currency, ONE))

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        attributions = [
            (
                symbol,
                book.quantity,
                book.cost,
                book.realized,
                [(n, position.quantity, position.cost) for n, position in book.positions.items()],
                list(book.last_holders),
            )
            for symbol, book in self._attributions.items()
        ]
        totals = [
            (name, strategy_totals.realized, strategy_totals.fees, strategy_totals.cash_flows, strategy_totals.trades)
            for name, strategy_totals in self._totals.items()
        ]
        names = (list(self.allocation.members), sorted(self._trading))
        return (attributions, totals, *self.allocation.snapshot(), dict(self._rates), names)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. One of an earlier release has no names of the ensemble's and of removed strategies."""
        attributions, totals, views, contributions, owners, rates, *names = snapshot
        self._attributions, self._totals = {}, {}
        for symbol, quantity, cost, realized, positions, last in attributions:
            book = self._attributions[symbol] = SymbolAttribution()
            book.quantity, book.cost, book.realized, book.last_holders = quantity, cost, realized, list(last)
            book.positions = {
                name: AttributedPosition(units, position_cost) for name, units, position_cost in positions
            }
        for name, realized, fees, cash_flows, trades in totals:
            strategy_totals = self._totals_of(name)
            strategy_totals.realized, strategy_totals.fees, strategy_totals.cash_flows, strategy_totals.trades = (
                realized,
                fees,
                cash_flows,
                trades,
            )
        self.allocation.restore((views, contributions, owners))
        members, trading = names[0] if names else ([name for parts in contributions.values() for name in parts], ())
        self.allocation.members = dict.fromkeys(members)
        self.allocation.trading = self._trading = self._trading.union(trading)
        self._rates = dict(rates)
        self._executions = {}
