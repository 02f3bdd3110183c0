"""Attribute the ledger's P&L to strategies. The parts sum exactly to the ledger's totals.

Each strategy has its own quantity and average cost per symbol. The quantities sum to the ledger's quantity, and the
amounts paid and received sum to the ledger's. A strategy's total (realized + unrealized) therefore does not depend on
the ledger's lot method. The split into realized and unrealized follows the ledger: the difference between the ledger's
cost and the sum of the strategies' costs is allocated to the holders by quantity.

All amounts have nine decimal places. In an allocation, each share is rounded, and the largest share takes the
remainder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from operators.instruments import Instrument
from operators.manual_orders import MANUAL, is_manual
from operators.money import ONE, ZERO, multiply, portion, quantize, to_decimal
from operators.signals.ensemble import ENSEMBLE
from schemas.records import BUY, TRADE, Attribution, CashFlow, Execution, OrderProposal, Position, Signal, Valuation

ACCOUNT = "account"
"""Row of amounts without a symbol, such as interest on the account."""
UNATTRIBUTED = "unattributed"
"""Row of the remainder to the ledger's totals. It exists only if the books started before the feedback service."""
PROPOSALS_MAX = 2
"""A symbol has one proposal at a time, but a late report can belong to the previous one."""
StrategyAmounts = list[tuple[str, Decimal]]


class StrategyPosition:
    """One strategy's position in a symbol. Quantity and cost are negative for a short position."""

    __slots__ = ("cost", "quantity")

    def __init__(self, quantity: Decimal = ZERO, cost: Decimal = ZERO) -> None:
        self.quantity = quantity
        self.cost = cost


class StrategyTotals:
    """Totals of one strategy over all symbols, since the start."""

    __slots__ = ("cash_flows", "fees", "realized", "trades")

    def __init__(self) -> None:
        self.realized = ZERO
        self.fees = ZERO
        self.cash_flows = ZERO
        self.trades = 0


class SymbolAttribution:
    """The ledger's values of a symbol, and the strategies' positions.

    `last_holders` are the shares of the strategies that last had a position.
    """

    __slots__ = ("cost", "last_holders", "positions", "quantity", "realized")

    def __init__(self) -> None:
        self.quantity = ZERO
        self.cost = ZERO
        self.realized = ZERO
        self.positions: dict[str, StrategyPosition] = {}
        self.last_holders: StrategyAmounts = []

    def holders(self) -> StrategyAmounts:
        return [(name, abs(position.quantity)) for name, position in self.positions.items() if position.quantity]


class ProposalOwner(NamedTuple):
    """The strategies of a proposal, and their shares of the quantity that it opens."""

    proposal_id: str
    strategies: tuple[str, ...]
    opening_shares: tuple[tuple[str, Decimal], ...]


class AttributionBook:
    """Process signals, proposals, executions and the ledger's records, and compute the rows of a Valuation."""

    def __init__(self, instruments: Iterable[Instrument] = (), currency: str = "USD") -> None:
        """`currency` is the account currency."""
        instrument_list = list(instruments)
        self._multipliers = {
            instrument.symbol: instrument.multiplier for instrument in instrument_list if instrument.multiplier != 1
        }
        self._currencies = {
            instrument.symbol: instrument.currency for instrument in instrument_list if instrument.currency != currency
        }
        self._rates: dict[str, Decimal] = {}
        self._books: dict[str, SymbolAttribution] = {}
        self._totals: dict[str, StrategyTotals] = {}
        self._views: dict[str, dict[str, tuple[int, float]]] = {}
        self._contributions: dict[str, dict[str, float]] = {}  # symbol -> contributions to the ensemble's last view
        self._owners: dict[str, list[ProposalOwner]] = {}
        self._executions: dict[str, Execution] = {}  # of the current time slice

    # -- incoming records ----------------------------------------------------------------------------------------------

    def record_signal(self, signal: Signal) -> None:
        self._views.setdefault(signal.symbol, {})[signal.strategy] = (signal.direction, signal.strength)
        if signal.strategy == ENSEMBLE:
            self._contributions[signal.symbol] = signal.parts

    def record_proposal(self, proposal: OrderProposal) -> None:
        """Record the strategies of a proposal and their shares by their current views."""
        symbol, strategies = proposal.symbol, tuple(proposal.strategy.split("+"))
        side = 1 if proposal.side == BUY else -1
        if strategies == (ENSEMBLE,):
            signed_shares = self._contributions.get(symbol, {})
        else:
            views = self._views.get(symbol, {})
            signed_shares = {
                strategy: views[strategy][0] * views[strategy][1] for strategy in strategies if strategy in views
            }
        opening_shares = tuple(
            (strategy, share)
            for strategy, signed_share in signed_shares.items()
            if (share := to_decimal(signed_share * side)) > 0
        )
        self._owners[symbol] = [
            *self._owners.get(symbol, []),
            ProposalOwner(proposal.proposal_id, strategies, opening_shares),
        ][-PROPOSALS_MAX:]

    def record_execution(self, execution: Execution) -> None:
        """Store a fill until its ledger records arrive later in the time slice."""
        if execution.exec_type == TRADE:
            self._executions[execution.execution_id] = execution

    def record_position(self, position: Position) -> None:
        """Attribute a change of the ledger: an execution or a corporate action."""
        book = self._books.get(position.symbol)
        if book is None:
            book = self._books[position.symbol] = SymbolAttribution()
        change = position.quantity - book.quantity
        cost, realized = position.cost_basis - book.cost, position.realized_pnl - book.realized
        book.quantity, book.cost, book.realized = position.quantity, position.cost_basis, position.realized_pnl
        if not position.quantity and (holders := book.holders()):
            book.last_holders = holders
        execution = self._executions.pop(position.execution_id, None)
        if execution is None:
            self._book_corporate_action(book, position.quantity, cost, realized)
        else:
            # The amount paid, signed like the quantity, is the decrease of cash.
            self._book_fill(book, execution, change, cost - realized)
        book.positions = {
            name: strategy_position
            for name, strategy_position in book.positions.items()
            if strategy_position.quantity or strategy_position.cost
        }

    def record_cash_flow(self, flow: CashFlow) -> None:
        book = self._books.get(flow.symbol)
        holders = [] if book is None else book.holders() or book.last_holders
        for name, amount in allocate_by_weight(quantize(flow.amount), holders or [(ACCOUNT, ONE)]):
            self._totals_of(name).cash_flows += amount

    def set_rate(self, currency: str, rate: Decimal) -> None:
        """Set the value of one unit of `currency` in account currency."""
        self._rates[currency] = quantize(rate)

    def rename(self, old: str, new: str) -> None:
        """Rename a symbol. Call before the ledger's Position under the new name."""
        old_book = self._books.pop(old, None)
        mappings: tuple[Any, ...] = (self._views, self._contributions, self._owners)
        for by_symbol in mappings:
            if old in by_symbol:
                by_symbol[new] = by_symbol.pop(old)
        if old_book is None:
            return
        book = self._books.setdefault(new, SymbolAttribution())
        book.quantity += old_book.quantity
        book.cost += old_book.cost
        book.realized += old_book.realized
        book.last_holders = book.last_holders or old_book.last_holders
        for name, old_position in old_book.positions.items():
            position = book.positions.setdefault(name, StrategyPosition())
            position.quantity += old_position.quantity
            position.cost += old_position.cost

    def _book_fill(self, book: SymbolAttribution, execution: Execution, change: Decimal, paid: Decimal) -> None:
        allocations = self._allocate(book, execution, change)
        if len(allocations) == 1:
            # Fast path: nearly every fill belongs to one strategy.
            ((name, quantity),) = allocations
            totals = self._totals_of(name)
            self._book_trade(book.positions.setdefault(name, StrategyPosition()), totals, quantity, paid)
            totals.fees += quantize(execution.fee)
            totals.trades += 1
            return
        weights = [(name, abs(quantity)) for name, quantity in allocations]
        values = [value for _, value in allocate_by_weight(paid, weights)]
        for (name, quantity), value in zip(allocations, values, strict=True):
            self._book_trade(
                book.positions.setdefault(name, StrategyPosition()), self._totals_of(name), quantity, value
            )
        for name, fee in allocate_by_weight(quantize(execution.fee), weights):
            self._totals_of(name).fees += fee
        for name in dict.fromkeys(name for name, _ in allocations):
            self._totals_of(name).trades += 1

    def _allocate(self, book: SymbolAttribution, execution: Execution, change: Decimal) -> StrategyAmounts:
        """Allocate the traded quantity (signed) to strategies: first positions that it closes, then what it opens."""
        opposite = {
            name: position.quantity for name, position in book.positions.items() if position.quantity * change < 0
        }
        if is_manual(execution.order_id):
            # Same order as in the portfolio: manual positions first, then the strategies.
            closing = _close_in_turn(change, opposite, sorted(opposite, key=lambda name: (name != MANUAL, name)))
            return _add_opening(closing, change, [(MANUAL, ONE)])
        owner = next(
            (
                candidate
                for candidate in self._owners.get(execution.symbol, ())
                if candidate.proposal_id == execution.cause_id
            ),
            None,
        )
        if owner is None:
            return _add_opening(_close_pro_rata(change, opposite), change, [(UNATTRIBUTED, ONE)])
        opening_shares = list(owner.opening_shares)
        if owner.strategies == (ENSEMBLE,):
            strategy_quantities = {
                name: signed_quantity for name, signed_quantity in opposite.items() if name != MANUAL
            }
            return _add_opening(
                _close_pro_rata(change, strategy_quantities), change, opening_shares or [(ENSEMBLE, ONE)]
            )
        closing = _close_pro_rata(
            change, {name: signed_quantity for name, signed_quantity in opposite.items() if name in owner.strategies}
        )
        rest = change - sum((quantity for _, quantity in closing), ZERO)
        if rest and not opening_shares:
            # No strategy of the proposal has a view on this side. The rest closes positions of other strategies.
            other_names = sorted(
                (name for name in opposite if name not in owner.strategies), key=lambda name: (name == MANUAL, name)
            )
            closing += _close_in_turn(rest, opposite, other_names)
        return _add_opening(closing, change, opening_shares or [(name, ONE) for name in owner.strategies])

    @staticmethod
    def _book_trade(position: StrategyPosition, totals: StrategyTotals, quantity: Decimal, paid: Decimal) -> None:
        """Book `quantity` for `paid`, both signed. The closing part realizes the difference to the average cost."""
        before = position.quantity
        if before * quantity < 0:
            closing = quantity if abs(quantity) <= abs(before) else -before
            value = paid if closing == quantity else portion(paid, closing, quantity)
            cost = position.cost if closing == -before else portion(position.cost, -closing, before)
            totals.realized -= value + cost
            position.cost -= cost
            position.quantity += closing
            quantity, paid = quantity - closing, paid - value
        position.quantity += quantity
        position.cost += paid

    def _book_corporate_action(
        self, book: SymbolAttribution, quantity: Decimal, cost: Decimal, realized: Decimal
    ) -> None:
        """Attribute a corporate action. Each strategy keeps its share of the position and of the cash."""
        holders = [(name, position.quantity) for name, position in book.positions.items() if position.quantity]
        if not holders:
            holders = [(UNATTRIBUTED, ONE)]
            book.positions[UNATTRIBUTED] = StrategyPosition()
        shares = [(name, abs(allocated)) for name, allocated in holders]
        if not quantity:
            for name, paid in allocate_by_weight(cost - realized, shares):
                position = book.positions[name]
                self._totals_of(name).realized -= paid + position.cost
                position.quantity = position.cost = ZERO
            return
        for (name, allocated), (_, cost_share), (_, gain) in zip(
            allocate_by_weight(quantity, holders),
            allocate_by_weight(cost, shares),
            allocate_by_weight(realized, shares),
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
        """Return one row per strategy that ever traded, by name, with `seq` numbers starting at `seq`.

        The rows sum to the valuation: realized P&L plus cash flows to `realized_pnl`, unrealized P&L and fees to the
        fields of the same name.
        """
        realized = {name: totals.realized for name, totals in self._totals.items()}
        unrealized: dict[str, Decimal] = {}
        for symbol, book in self._books.items():
            self._add_symbol_values(symbol, book, closes, realized, unrealized)
        residuals = (
            valuation.realized_pnl - sum(realized.values(), sum((t.cash_flows for t in self._totals.values()), ZERO)),
            valuation.unrealized_pnl - sum(unrealized.values(), ZERO),
            valuation.fees - sum((t.fees for t in self._totals.values()), ZERO),
        )
        names = set(realized) | set(unrealized)
        if any(residuals):
            names.add(UNATTRIBUTED)
            realized[UNATTRIBUTED] = realized.get(UNATTRIBUTED, ZERO) + residuals[0]
            unrealized[UNATTRIBUTED] = unrealized.get(UNATTRIBUTED, ZERO) + residuals[1]
        out = []
        for index, name in enumerate(sorted(names)):
            totals = self._totals.get(name) or StrategyTotals()
            fees = totals.fees + residuals[2] if name == UNATTRIBUTED else totals.fees
            out.append(
                Attribution(
                    seq + index,
                    valuation.ts_ns,
                    name,
                    realized.get(name, ZERO),
                    unrealized.get(name, ZERO),
                    fees,
                    totals.cash_flows,
                    totals.trades,
                )
            )
        return out

    def _add_symbol_values(
        self,
        symbol: str,
        book: SymbolAttribution,
        closes: Mapping[str, float],
        realized: dict[str, Decimal],
        unrealized: dict[str, Decimal],
    ) -> None:
        """Add a symbol's unrealized P&L, and shift amounts between realized and unrealized as in the ledger."""
        shares = book.holders()
        if not shares:
            return
        cost_shifts = dict(
            allocate_by_weight(book.cost - sum((position.cost for position in book.positions.values()), ZERO), shares)
        )
        values: dict[str, Decimal] = {}
        if symbol in closes:
            price, unit_value = to_decimal(closes[symbol]), self._unit_value(symbol)
            values = {
                name: multiply(multiply(position.quantity, price), unit_value)
                for name, position in book.positions.items()
                if position.quantity
            }
            total_value = multiply(multiply(book.quantity, price), unit_value)
            values[max(shares, key=lambda share: share[1])[0]] += total_value - sum(values.values(), ZERO)
        for name, position in book.positions.items():
            shift = cost_shifts.get(name, ZERO)
            realized[name] = realized.get(name, ZERO) + shift
            unrealized[name] = (
                unrealized.get(name, ZERO) + values.get(name, position.cost + shift) - position.cost - shift
            )

    def _unit_value(self, symbol: str) -> Decimal:
        """The value of one unit in account currency at a price of 1, as in the ledger."""
        multiplier, currency = self._multipliers.get(symbol, ONE), self._currencies.get(symbol)
        return multiplier if currency is None else multiply(multiplier, self._rates.get(currency, ONE))

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        books = [
            (
                symbol,
                book.quantity,
                book.cost,
                book.realized,
                [(n, position.quantity, position.cost) for n, position in book.positions.items()],
                list(book.last_holders),
            )
            for symbol, book in self._books.items()
        ]
        totals = [
            (name, strategy_totals.realized, strategy_totals.fees, strategy_totals.cash_flows, strategy_totals.trades)
            for name, strategy_totals in self._totals.items()
        ]
        owners = [(symbol, [tuple(owner) for owner in entries]) for symbol, entries in self._owners.items()]
        views = {symbol: dict(views) for symbol, views in self._views.items()}
        return (
            books,
            totals,
            views,
            {symbol: dict(contributions) for symbol, contributions in self._contributions.items()},
            owners,
            dict(self._rates),
        )

    def restore(self, snapshot: Any) -> None:
        books, totals, views, contributions, owners, rates = snapshot
        self._books, self._totals = {}, {}
        for symbol, quantity, cost, realized, positions, last in books:
            book = self._books[symbol] = SymbolAttribution()
            book.quantity, book.cost, book.realized, book.last_holders = quantity, cost, realized, list(last)
            book.positions = {name: StrategyPosition(units, position_cost) for name, units, position_cost in positions}
        for name, realized, fees, cash_flows, trades in totals:
            strategy_totals = self._totals_of(name)
            strategy_totals.realized, strategy_totals.fees, strategy_totals.cash_flows, strategy_totals.trades = (
                realized,
                fees,
                cash_flows,
                trades,
            )
        self._views = {symbol: dict(one) for symbol, one in views.items()}
        self._contributions = {symbol: dict(one) for symbol, one in contributions.items()}
        self._owners = {symbol: [ProposalOwner(*one) for one in entries] for symbol, entries in owners}
        self._rates = dict(rates)
        self._executions = {}


def allocate_by_weight(total: Decimal, weights: Sequence[tuple[str, Decimal]]) -> StrategyAmounts:
    """Allocate `total` by weight. Each share is rounded to nine places; the largest weight takes the remainder.

    If several weights are the largest, the first one takes it.

    >>> [(name, str(share)) for name, share in allocate_by_weight(Decimal(10), [("a", Decimal(1)), ("b", Decimal(2))])]
    [('a', '3.333333333'), ('b', '6.666666667')]
    """
    if len(weights) == 1:
        return [(weights[0][0], total)]
    weight_sum = sum((weight for _, weight in weights), ZERO)
    if not total or not weight_sum:
        return [(name, total if index == 0 else ZERO) for index, (name, _) in enumerate(weights)]
    shares = [(name, portion(total, weight, weight_sum)) for name, weight in weights]
    largest = max(range(len(weights)), key=lambda index: abs(weights[index][1]))
    remainder = total - sum((share for _, share in shares), ZERO)
    shares[largest] = (shares[largest][0], shares[largest][1] + remainder)
    return shares


def _close_pro_rata(change: Decimal, opposite: Mapping[str, Decimal]) -> StrategyAmounts:
    """Close positions of the opposite side of `change`, in proportion to their quantity."""
    sizes = [(name, abs(quantity)) for name, quantity in opposite.items()]
    opposite_total = sum((quantity for _, quantity in sizes), ZERO)
    if not opposite_total:
        return []
    if opposite_total <= abs(change):
        return [(name, -quantity) for name, quantity in opposite.items()]
    return allocate_by_weight(change, sizes)


def _close_in_turn(change: Decimal, opposite: Mapping[str, Decimal], names: Iterable[str]) -> StrategyAmounts:
    """Close positions of the opposite side of `change`, in the order of `names`."""
    closing, remaining = [], change
    for name in names:
        if not remaining:
            break
        closed = min(remaining, -opposite[name], key=abs)
        closing.append((name, closed))
        remaining -= closed
    return closing


def _add_opening(closing: StrategyAmounts, change: Decimal, opening_shares: StrategyAmounts) -> StrategyAmounts:
    opening_quantity = change - sum((quantity for _, quantity in closing), ZERO)
    return [*closing, *allocate_by_weight(opening_quantity, opening_shares)] if opening_quantity else closing
