"""One sub-account per trading strategy: quantity, cash, fees and equity, folded from executions by the ledger's code.

The sub-accounts and the remainder (manual orders, view strategies, interest, rounding) sum to the account exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from operators.feedback.trade_allocation import TradeAllocation
from operators.instruments import Instruments
from operators.ledger import Ledger, PartLedger
from operators.ledger.cash import AccrualSettings, ShortPosition
from operators.ledger.events import AccountIncome, share_ratio, to_ledger_event
from operators.ledger.split_ratio import split_units
from operators.manual_orders import MANUAL
from operators.money import ONE, ZERO, divide, multiply, quantize, to_decimal
from operators.strategy_shares import StrategyAmounts, allocate_by_weight, largest_holder, sides_of
from operators.trading.settings import TradingSettings
from schemas.records import (
    BUY,
    CASH_DIVIDEND,
    DELISTING,
    EXTERNAL_FLOWS,
    RIGHTS,
    SELL,
    SPIN_OFF,
    SPLIT,
    STOCK_DIVIDEND,
    SYMBOL_CHANGE,
    TRADE,
    CashTransfer,
    CorporateAction,
    ExchangeRate,
    Execution,
    InternalCross,
    OrderProposal,
    Side,
    StrategyAction,
)

VERSION = 1
REMAINDER = "remainder"
"""Name of the row of everything that does not belong to a trading strategy."""


class AccountRow(NamedTuple):
    """A sub-account. Quantities in signed units by symbol, without zeros; money in account currency.

    `profit` is realized plus unrealized P&L with income, less fees.
    """

    strategy: str
    quantities: dict[str, Decimal]
    cash: Decimal
    fees: Decimal
    equity: Decimal
    profit: Decimal


class StrategyFill(NamedTuple):
    """The part of a fill that belongs to one strategy. `quantity` is signed."""

    strategy: str
    quantity: Decimal
    fee: Decimal


class AccountBooks:
    """A ledger with its income: that of the whole account, or of one strategy."""

    def __init__(self, ledger: Ledger, accruals: AccrualSettings) -> None:
        self.ledger = ledger
        self.income = AccountIncome(accruals)

    def equity(self, prices: Mapping[str, float]) -> Decimal:
        """Return cash, accrued dividends and the value of the positions at these prices."""
        ledger = self.ledger
        value = ledger.cash + ledger.accrued
        for position in ledger.positions():
            if quantity := position.quantity:
                price = prices.get(position.symbol)
                if price is None:
                    value += position.cost
                    continue
                amount = multiply(quantity, to_decimal(price))
                value += amount if position.unit_value is ONE else multiply(amount, position.unit_value)
        return value

    def entry_price(self, symbol: str) -> Decimal | None:
        """Return the average price of the open units; None without a position."""
        position = self.ledger.position(symbol)
        if position is None or not position.quantity:
            return None
        price = divide(position.cost, position.quantity)
        return price if position.unit_value is ONE else divide(price, position.unit_value)

    def snapshot(self) -> Any:
        return (self.ledger.snapshot(), self.income.snapshot())

    def restore(self, snapshot: Any) -> None:
        ledger, income = snapshot
        self.ledger.restore(ledger)
        self.income.restore(income)


class SubAccount(AccountBooks):
    """The books of one strategy."""

    ledger: PartLedger

    def __init__(self, ledger: PartLedger, accruals: AccrualSettings) -> None:
        super().__init__(ledger, accruals)


class StrategyAccounts:
    """The sub-accounts of the strategies in `names`, and the account as a whole.

    A strategy that the settings no longer name keeps its sub-account, so that it finds its positions if it is added
    again. Deposits while it is removed add nothing to it.

    A fill of an order of a strategy belongs to that strategy. Other fills are allocated as attribution does
    (`operators/feedback/trade_allocation.py`): by the strategies of the portfolio's proposal, or a manual order.
    """

    def __init__(self, names: Iterable[str], settings: TradingSettings, instruments: Instruments) -> None:
        multipliers = {one.symbol: one.multiplier for one in instruments.listed if one.multiplier != 1}
        currencies = {one.symbol: one.currency for one in instruments.listed if one.currency != settings.currency}
        self._multipliers, self._currencies = multipliers, currencies
        self._shares = {name: settings.capital.get(name, ONE) for name in names}
        self.accounts = {
            name: self._create(multiply(settings.initial_capital, share)) for name, share in self._shares.items()
        }
        ledger = Ledger(settings.initial_capital, multipliers=multipliers, currencies=currencies)
        self.account = AccountBooks(ledger, settings.accruals)
        self.allocation = TradeAllocation(self.accounts.keys())
        # Positions of all strategies, also of those that form views, because a fill can close them.
        self._positions: dict[str, dict[str, Decimal]] = {}
        self._trading_day = 0

    def _create(self, capital: Decimal) -> SubAccount:
        ledger = PartLedger(capital, multipliers=self._multipliers, currencies=self._currencies)
        return SubAccount(ledger, AccrualSettings())

    # -- incoming records

    def record_action(self, action: StrategyAction) -> None:
        """Record the target of a strategy, on which the share in an order of several strategies depends."""
        self.allocation.record_action(action)

    def record_proposal(self, proposal: OrderProposal) -> None:
        self.allocation.record_proposal(proposal)

    def book_execution(self, execution: Execution) -> list[StrategyFill]:
        """Book a report. Return the parts of a fill that belong to trading strategies, by name."""
        ledger, symbol = self.account.ledger, execution.symbol
        before = ledger.quantity(symbol)
        if not ledger.apply(execution) or execution.exec_type != TRADE:
            return []
        traded = quantize(execution.quantity if execution.side == BUY else -execution.quantity)
        shares = self._allocate(execution, traded)
        fees = allocate_by_weight(quantize(execution.fee), [(name, abs(share)) for name, share in shares])
        fills: list[StrategyFill] = []
        for (name, share), (_, fee) in zip(shares, fees, strict=True):
            self._add_units(symbol, name, share)
            if name in self.accounts:
                side: Side = BUY if share > 0 else SELL
                part = execution._replace(side=side, quantity=abs(share), fee=fee)
                self.accounts[name].ledger.apply(part)
                fills += [StrategyFill(name, share, fee)] if name in self._shares else []
        dropped = ledger.quantity(symbol) - before - traded
        self._hold_difference(execution.ts_ns, symbol, execution.execution_id, dropped, ZERO)
        return sorted(fills)

    def book_cross(self, cross: InternalCross) -> list[StrategyFill]:
        """Book a trade between two strategies. Return the sides that belong to trading strategies, by name.

        The account does not change: what the buyer pays, the seller receives.
        """
        fills: list[StrategyFill] = []
        for name, share in sides_of(cross):
            self._add_units(cross.symbol, name, share)
            if name in self.accounts:
                self.accounts[name].ledger.book_cross(cross, share)
                fills += [StrategyFill(name, share, ZERO)] if name in self._shares else []
        return sorted(fills)

    def _add_units(self, symbol: str, name: str, units: Decimal) -> None:
        positions = self._positions.setdefault(symbol, {})
        positions[name] = positions.get(name, ZERO) + units
        if not positions[name]:
            del positions[name]
        if not positions:
            del self._positions[symbol]

    def _allocate(self, execution: Execution, change: Decimal) -> StrategyAmounts:
        """Return the signed quantities of a fill by strategy, one entry for each."""
        positions = self._positions.get(execution.symbol, {})
        opposite = {name: quantity for name, quantity in positions.items() if quantity * change < 0}
        amounts: dict[str, Decimal] = {}
        for name, quantity in self.allocation.allocate(execution, change, opposite):
            amounts[name] = amounts.get(name, ZERO) + quantity
        return [(name, quantity) for name, quantity in amounts.items() if quantity]

    def book_transfer(self, ts_ns: int, transfer: CashTransfer) -> None:
        """Book money that moved into or out of the account. Each strategy has its capital share of a deposit."""
        self.account.ledger.book_transfer(ts_ns, transfer)
        if transfer.kind in EXTERNAL_FLOWS:
            for name, account in self.accounts.items():
                amount = multiply(transfer.amount, self._shares.get(name, ZERO))
                account.ledger.book_transfer(ts_ns, transfer._replace(amount=amount))

    def open_day(self, ts_ns: int, day: int, prices: Mapping[str, float]) -> bool:
        """Start a trading day (yyyymmdd): pay due dividends, and interest and borrow fees of the account.

        Return False if the day has already started.
        """
        if day <= self._trading_day:
            return False
        previous, self._trading_day = self._trading_day, day
        for one in self._all():
            shorts = {
                position.symbol: ShortPosition(-position.quantity, to_decimal(prices[position.symbol]))
                for position in one.ledger.positions()
                if position.quantity < 0 and position.symbol in prices
            }
            for charge in one.income.open_day(previous, day, one.ledger.cash, shorts):
                one.ledger.book_charge(ts_ns, charge)
        return True

    def apply_rate(self, rate: ExchangeRate) -> None:
        for one in self._all():
            if one.ledger.trades_in(rate.base):
                one.ledger.set_rate(rate.base, rate.rate)

    def apply_action(self, ts_ns: int, action: CorporateAction, rate: Decimal) -> None:
        """Apply a corporate action, before the executions of its time slice. `rate` converts its currency.

        At a split, the account sells its fraction of a share. The strategy with the largest position bears this sale
        and the rounding difference between the account and the strategies; the others keep their fractions.
        """
        cash = self.account.ledger.cash
        self._apply_to(self.account, ts_ns, action, rate)
        is_split = action.kind in (SPLIT, STOCK_DIVIDEND)
        own_action = action._replace(amount=None) if is_split else action
        for one in self.accounts.values():
            self._apply_to(one, ts_ns, own_action, rate)
        self._apply_to_positions(action)
        if action.kind in (SPIN_OFF, RIGHTS):
            self._hold_distributed(action.new_symbol)
        if is_split:
            self.allocation.split(action.symbol, share_ratio(action))
            difference = self._unowned(action.symbol)
            if abs(difference) < ONE:
                paid = cash - self.account.ledger.cash
                self._hold_difference(ts_ns, action.symbol, action.action_id, difference, paid)

    def _hold_distributed(self, symbol: str) -> None:
        """Assign the distributed shares that no sub-account has to the manual position, as the portfolio does."""
        self._add_units(symbol, MANUAL, self._unowned(symbol))

    def _unowned(self, symbol: str) -> Decimal:
        """Return the units of the account that belong to nobody yet."""
        return self.account.ledger.quantity(symbol) - sum(self._positions.get(symbol, {}).values(), ZERO)

    def _hold_difference(self, ts_ns: int, symbol: str, cause_id: str, difference: Decimal, paid: Decimal) -> None:
        """Book units by which the account differs from the strategies, for the amount that it paid for them.

        They are a fraction that the account has sold, or rounding. As in the portfolio, the largest holder takes them.
        """
        positions = self._positions.get(symbol, {})
        if not positions or not difference:
            return
        name = largest_holder(positions)
        self._add_units(symbol, name, difference)
        if name in self.accounts:
            self.accounts[name].ledger.book_difference(ts_ns, symbol, cause_id, difference, paid)

    def _apply_to(self, one: AccountBooks, ts_ns: int, action: CorporateAction, rate: Decimal) -> None:
        ledger, quantity = one.ledger, one.ledger.quantity(action.symbol)
        if action.kind == CASH_DIVIDEND:
            for charge in one.income.record_ex_date(action, quantity, self._trading_day, rate):
                ledger.book_charge(ts_ns, charge)
            return
        event = to_ledger_event(action, ts_ns, quantity)
        if event is not None:
            ledger.apply_action(event)

    def _apply_to_positions(self, action: CorporateAction) -> None:
        """Apply a corporate action to the quantities by strategy. Those of trading strategies come from their books."""
        if action.kind == CASH_DIVIDEND:
            return
        symbol, new_symbol, ratio = action.symbol, action.new_symbol, share_ratio(action)
        before = self._positions.pop(symbol, {})
        after = {} if action.kind in (DELISTING, SYMBOL_CHANGE) else before
        if ratio != ONE:
            after = {name: split_units(quantity, ratio) for name, quantity in before.items()}
        if action.kind == SYMBOL_CHANGE:
            self.allocation.rename(symbol, new_symbol)
            for name, quantity in before.items():
                renamed = self._positions.setdefault(new_symbol, {})
                renamed[name] = renamed.get(name, ZERO) + quantity
        self._positions[symbol] = after
        for one in (symbol, new_symbol):
            if one:
                self._read_books(one)

    def _read_books(self, symbol: str) -> None:
        positions = self._positions.setdefault(symbol, {})
        for name, account in self.accounts.items():
            positions[name] = account.ledger.quantity(symbol)
        remaining = {name: quantity for name, quantity in positions.items() if quantity}
        if remaining:
            self._positions[symbol] = remaining
        else:
            del self._positions[symbol]

    def _all(self) -> list[AccountBooks]:
        return [self.account, *self.accounts.values()]

    # -- output

    def symbols_of(self, name: str) -> list[str]:
        """Return the symbols in which a strategy has a position, sorted."""
        return sorted(one.symbol for one in self.accounts[name].ledger.positions() if one.quantity)

    def rows(self, prices: Mapping[str, float]) -> list[AccountRow]:
        """Return the sub-accounts in the order of the strategies, and the remainder to the account."""
        rows = [_row(name, one, prices) for name, one in self.accounts.items()]
        total = _row(REMAINDER, self.account, prices)
        quantities = dict(total.quantities)
        for row in rows:
            for symbol, quantity in row.quantities.items():
                quantities[symbol] = quantities.get(symbol, ZERO) - quantity
        remainder = AccountRow(
            strategy=REMAINDER,
            quantities={symbol: quantity for symbol, quantity in quantities.items() if quantity},
            cash=total.cash - sum((row.cash for row in rows), ZERO),
            fees=total.fees - sum((row.fees for row in rows), ZERO),
            equity=total.equity - sum((row.equity for row in rows), ZERO),
            profit=total.profit - sum((row.profit for row in rows), ZERO),
        )
        return [*rows, remainder]

    # -- state

    def snapshot(self) -> Any:
        return (
            VERSION,
            self.account.snapshot(),
            {name: one.snapshot() for name, one in self.accounts.items()},
            self.allocation.snapshot(),
            {symbol: dict(positions) for symbol, positions in self._positions.items()},
            self._trading_day,
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. A strategy that it lacks starts with its share of the initial capital."""
        version, account, accounts, allocation, positions, self._trading_day = snapshot
        assert version == VERSION, f"strategy accounts snapshot: version {version}, expected {VERSION}"
        self.account.restore(account)
        for name, state in accounts.items():
            if name not in self.accounts:
                self.accounts[name] = self._create(ZERO)
            self.accounts[name].restore(state)
        self.allocation.restore(allocation)
        self._positions = {symbol: dict(quantities) for symbol, quantities in positions.items()}


def _row(name: str, one: AccountBooks, prices: Mapping[str, float]) -> AccountRow:
    ledger, equity = one.ledger, one.equity(prices)
    return AccountRow(
        strategy=name,
        quantities={position.symbol: position.quantity for position in ledger.positions() if position.quantity},
        cash=ledger.cash,
        fees=ledger.fees,
        equity=equity,
        profit=equity - ledger.initial_cash - ledger.net_flows,
    )
