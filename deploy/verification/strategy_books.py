"""The books of each strategy, rebuilt from executions and internal crosses, as simply as possible.

This shares no code with the sub-accounts (`operators/trading/accounts.py`): it reads only what orders, proposals and
crosses contain, and books with the naive ledger. Each strategy starts with cash of 0, so its cash is what it has
received minus what it has paid. All other units belong to `manual`, to view strategies or to `ensemble`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from fractions import Fraction

from deploy.verification.naive_ledger import PLACES, NaiveLedger, new_for_old, rounded_units
from operators.manual_orders import MANUAL, is_for_account, trading_strategy_of
from schemas.records import (
    BUY,
    CASH_DIVIDEND,
    RIGHTS,
    SPIN_OFF,
    SPLIT,
    STOCK_DIVIDEND,
    TRADE,
    CashFlow,
    CorporateAction,
    Execution,
    InternalCross,
    OrderProposal,
    Side,
)

UNOWNED = "unattributed"
"""Owner of fills whose proposal is unknown."""
PROPOSALS_MAX = 2
"""Number of proposals stored for each symbol. A late report can belong to the last proposal but one."""
_ZERO = Fraction(0)
_NO_CASH = Decimal(0)


class StrategyBooks:
    """The naive ledgers of the account and of each owner of units. Pass the records in the order of the services.

    That order is, for each time slice: the crosses and proposals of the time slice before, the corporate actions, then
    the executions.
    """

    def __init__(
        self,
        capital: Decimal,
        unit_value: Callable[[str], Decimal],
        rate: Callable[[str, int], Decimal],
        trading: Collection[str] = (),
    ) -> None:
        """`trading` are the strategies with a sub-account."""
        self._unit_value, self._rate, self._trading = unit_value, rate, trading
        self.account = NaiveLedger(capital, unit_value, rate)
        self.owners: dict[str, NaiveLedger] = {}
        self._proposals: dict[str, list[OrderProposal]] = {}

    def owner(self, name: str) -> NaiveLedger:
        if name not in self.owners:
            self.owners[name] = NaiveLedger(_NO_CASH, self._unit_value, self._rate, is_part=True)
        return self.owners[name]

    def record_proposal(self, proposal: OrderProposal) -> None:
        symbol = proposal.terms.symbol
        self._proposals[symbol] = [*self._proposals.get(symbol, []), proposal][-PROPOSALS_MAX:]

    def book_cross(self, cross: InternalCross) -> None:
        for name, units in ((cross.buyer, Fraction(cross.quantity)), (cross.seller, -Fraction(cross.quantity))):
            self.owner(name).book_trade(cross.symbol, units, Fraction(cross.price), cross.ts_ns)

    def book_execution(self, execution: Execution) -> None:
        if execution.exec_type != TRADE:
            return
        units, before = Fraction(execution.quantity), self.account.quantity(execution.symbol)
        units *= 1 if execution.side == BUY else -1
        self.account.book_execution(execution)
        shares = self._shares(execution, units)
        fees = _divide(Fraction(execution.fee), {name: abs(share) for name, share in shares.items()})
        for name, share in shares.items():
            side: Side = BUY if share > 0 else "SELL"
            part = execution._replace(side=side, quantity=_decimal(abs(share)), fee=_decimal(fees[name]))
            self.owner(name).book_execution(part)
        # What is too small to trade, after a split
        self._hold_difference(execution.symbol, self.account.quantity(execution.symbol) - before - units, _ZERO)

    def _shares(self, execution: Execution, units: Fraction) -> dict[str, Fraction]:
        """Return the signed units of a fill by owner."""
        strategy = trading_strategy_of(execution.order_id)
        if strategy is not None:
            return {strategy: units}
        if is_for_account(execution.order_id):
            return self._manual_shares(execution.symbol, units)
        known = self._proposals.get(execution.symbol, [])
        proposal = next((one for one in known if one.proposal_id == execution.cause_id), None)
        if proposal is None:
            return {UNOWNED: units}
        if not proposal.changes:
            return _divide(units, dict.fromkeys(proposal.strategy.split("+"), Fraction(1)))
        weights = _ordered_changes({name: Fraction(text) for name, text in proposal.changes.items()}, units)
        if not weights:
            return _divide(units, dict.fromkeys(proposal.strategy.split("+"), Fraction(1)))
        sign = 1 if units > 0 else -1
        filled = max(Fraction(execution.cum_quantity), abs(units)) * sign
        after, before = _divide(filled, weights), _divide(filled - units, weights)
        return {name: share for name in weights if (share := after[name] - before[name])}

    def _manual_shares(self, symbol: str, units: Fraction) -> dict[str, Fraction]:
        """Close manual units first, then those of the strategies in the order of their names. Open manual ones."""
        shares: dict[str, Fraction] = {}
        for name in sorted(self.owners, key=lambda one: (one != MANUAL, one)):
            quantity = self.owners[name].quantity(symbol)
            if units and quantity * units < 0:
                shares[name] = max(-quantity, units) if units < 0 else min(-quantity, units)
                units -= shares[name]
        if units:
            shares[MANUAL] = shares.get(MANUAL, _ZERO) + units
        return shares

    # -- corporate actions

    def book_flow(self, flow: CashFlow, action: CorporateAction | None, *, in_account: bool = True) -> None:
        """Book a cash flow of the account. `action` is the corporate action behind it, None for all others.

        Without `in_account`, the account had no position in the symbol, so that the flow has only a time.
        """
        symbol, new_symbol = ("", "") if action is None else (action.symbol, action.new_symbol)
        if not in_account and self.account.quantity(symbol):
            return  # an earlier release, which changed nothing if the account was long in one and short in the other
        cash, unowned_cash = self.account.cash, self._unowned_cash()
        if in_account:
            self.account.book_cash_flow(flow, action)
        if action is None:
            return  # interest, fees, deposits and withdrawals are those of the account
        is_split, distributes = action.kind in (SPLIT, STOCK_DIVIDEND), action.kind in (SPIN_OFF, RIGHTS)
        own = action._replace(amount=None) if is_split else action
        for name, ledger in list(self.owners.items()):
            if distributes and name not in self._trading:
                continue  # what it would receive is manual
            holds = bool(ledger.quantity(symbol))
            if holds or action.kind == CASH_DIVIDEND or action.action_id in ledger.unpaid:
                ledger.book_cash_flow(flow._replace(quantity=_decimal(ledger.quantity(symbol))), own)
        if is_split:
            self._split_proposals(action)
            difference = self._unowned(symbol)
            if abs(difference) < 1:
                self._hold_difference(symbol, difference, cash - self.account.cash)
        elif distributes and (difference := self._unowned(new_symbol)):
            self._book(MANUAL, new_symbol, difference, unowned_cash - self._unowned_cash(), flow.ts_ns)

    def _split_proposals(self, action: CorporateAction) -> None:
        """Convert the changes of open proposals to new shares."""
        ratio = new_for_old(action)
        self._proposals[action.symbol] = [
            one._replace(
                changes={
                    name: str(_decimal(rounded_units(Fraction(text) * ratio))) for name, text in one.changes.items()
                }
            )
            for one in self._proposals.get(action.symbol, [])
        ]

    def _unowned(self, symbol: str) -> Fraction:
        return self.account.quantity(symbol) - sum((one.quantity(symbol) for one in self.owners.values()), _ZERO)

    def _unowned_cash(self) -> Fraction:
        return self.account.cash - sum((one.cash for one in self.owners.values()), _ZERO)

    def _hold_difference(self, symbol: str, difference: Fraction, paid: Fraction) -> None:
        """Let the owner with the most units take the rest between the account and the owners, for what it cost."""
        units = {name: ledger.quantity(symbol) for name, ledger in self.owners.items() if ledger.quantity(symbol)}
        if units and difference:
            self._book(max(units, key=lambda one: (abs(units[one]), one)), symbol, difference, paid)

    def _book(self, name: str, symbol: str, units: Fraction, paid: Fraction, ts_ns: int = 0) -> None:
        price = paid / units / Fraction(self._unit_value(symbol))
        self.owner(name).book_trade(symbol, units, price, ts_ns)


def _ordered_changes(changes: Mapping[str, Fraction], units: Fraction) -> dict[str, Fraction]:
    """Return the changes that the order of a proposal trades: those on its side, without the units that cross.

    Buyers and sellers trade with each other in the order of their names until one side has nothing left.
    """
    rest = {name: changes[name] for name in sorted(changes) if changes[name] * units > 0}
    internal = sum((abs(change) for change in changes.values() if change * units < 0), _ZERO)
    for name, change in rest.items():
        taken = min(internal, abs(change))
        internal -= taken
        rest[name] = change - (taken if change > 0 else -taken)
    return {name: change for name, change in rest.items() if change}


def _divide(total: Fraction, weights: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Divide by weight, rounded to nine decimal places. The first of the largest weights takes the remainder."""
    if len(weights) == 1:
        return dict.fromkeys(weights, total)
    weight_sum = sum(weights.values(), _ZERO)
    shares = {name: Fraction(round(total * weight / weight_sum * PLACES), PLACES) for name, weight in weights.items()}
    largest = max(weights, key=lambda name: abs(weights[name]))
    shares[largest] += total - sum(shares.values(), _ZERO)
    return shares


def _decimal(units: Fraction) -> Decimal:
    return Decimal(round(units * PLACES)).scaleb(-9)
