"""Apply corporate actions, exchange rates, dividends, interest and fees to the portfolio's books.

The portfolio (`operators/portfolio/stage.py`) owns the books. Risk applies the same records to its own book by the same
rules (`operators/ledger/events.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.adjusted_prices import AdjustedPrices, ex_price, split_price
from operators.ledger import Ledger, SpinOff
from operators.ledger.cash import AccrualSettings, Charge, ShortPosition
from operators.ledger.corporate_actions import fractional_units
from operators.ledger.events import AccountIncome, distribution_prices, share_ratio, to_ledger_event
from operators.ledger.split_ratio import split_units
from operators.manual_orders import MANUAL
from operators.money import ONE, divide, multiply, to_decimal
from operators.portfolio.targets import Targets, apply_own_trade, net_held
from operators.reference_data import ReferenceData
from operators.sizing import Estimates, TargetWeights
from operators.valuation import Marks
from schemas.records import (
    CASH_DIVIDEND,
    DELISTING,
    EXCHANGE_RATE,
    MERGER_CASH,
    RIGHTS,
    SPIN_OFF,
    SYMBOL_CHANGE,
    CorporateAction,
    Record,
)

VERSION = 2


class PortfolioCorporateActions:
    """Updates of the portfolio that do not come from trades.

    Changes `ledger`, `marks`, `targets`, `estimates` and `weights`. `with_accounts` are the strategies with a
    sub-account: trading strategies, and view strategies with limits.
    """

    def __init__(
        self,
        settings: AccrualSettings,
        currency: str,
        ledger: Ledger,
        marks: Marks,
        targets: Targets,
        estimates: Estimates,
        weights: TargetWeights,
        with_accounts: Sequence[str] = (),
    ) -> None:
        self._reference, self._income = ReferenceData(currency=currency), AccountIncome(settings)
        self._ledger, self._marks, self._targets, self._estimates = ledger, marks, targets, estimates
        self._weights, self._with_accounts = weights, with_accounts
        self.adjusted_prices = AdjustedPrices()
        self.splits: list[tuple[str, Decimal]] = []  # symbol and ratio of the splits of this time slice

    @property
    def accrued_dividends(self) -> dict[str, Decimal]:
        """Dividends that are income and not paid yet, by the id of the corporate action."""
        return self._income.accrued_dividends

    def open_day(self, ts_ns: int, previous_day: int, day: int) -> list[Record]:
        """Start a trading day (yyyymmdd) with the previous day's closing balances. Return the booked charges."""
        prices = self._marks.prices
        shorts = {
            position.symbol: ShortPosition(-position.quantity, to_decimal(prices[position.symbol]))
            for position in self._ledger.positions()
            if position.quantity < 0
        }
        return self._book_charges(ts_ns, self._income.open_day(previous_day, day, self._ledger.cash, shorts))

    def apply_due(
        self, ts_ns: int, records: Sequence[Record], day: int, changed_symbols: dict[str, None]
    ) -> list[Record]:
        """Apply the rates and corporate actions that take effect in this time slice.

        Adds the symbols whose value has changed to `changed_symbols`.
        """
        out: list[Record] = []
        self.splits = []
        for due_record in self._reference.pop_due(records):
            if not isinstance(due_record, CorporateAction):
                if self._ledger.trades_in(due_record.base):
                    out.append(self._ledger.record_event(ts_ns, EXCHANGE_RATE, "", due_record.rate_id))
                    changed_symbols.update(dict.fromkeys(self._ledger.set_rate(due_record.base, due_record.rate)))
            elif due_record.kind == CASH_DIVIDEND:
                quantity, rate = self._ledger.quantity(due_record.symbol), self._reference.rate_of(due_record.currency)
                out += self._book_charges(ts_ns, self._income.record_ex_date(due_record, quantity, day, rate))
                self._mark_ex_dividend(due_record, rate)
                changed_symbols[due_record.symbol] = None
            else:
                out += self._apply_action(ts_ns, due_record, changed_symbols)
        return out

    def _mark_ex_dividend(self, dividend: CorporateAction, rate: Decimal) -> None:
        """Reduce the mark by the dividend: until the first trade of the ex-date, it is the price with the dividend."""
        symbol = dividend.symbol
        assert dividend.amount is not None, f"{dividend.action_id}: expected a validated corporate action"
        if symbol in self._marks.prices and self._ledger.has_rate(symbol):
            self._reduce_mark(symbol, divide(multiply(dividend.amount, rate), self._ledger.unit_value(symbol)))

    def _reduce_mark(self, symbol: str, amount: Decimal) -> None:
        """Reduce the mark by a payment per unit, in the symbol's currency."""
        before = self._marks.prices[symbol]
        after = ex_price(before, amount)
        self._set_mark(symbol, after)
        self._estimates.go_ex(symbol, before, after)

    def _set_mark(self, symbol: str, price: float) -> None:
        self._marks.prices[symbol] = self.adjusted_prices.prices[symbol] = price

    def _apply_action(self, ts_ns: int, action: CorporateAction, changed_symbols: dict[str, None]) -> list[Record]:
        symbol, ratio, prices = action.symbol, share_ratio(action), self._marks.prices
        event = to_ledger_event(action, ts_ns, self._ledger.quantity(symbol))
        if action.kind in (SYMBOL_CHANGE, DELISTING):
            self.adjusted_prices.prices.pop(symbol, None)  # it has no bars any more
        if action.kind == SYMBOL_CHANGE:
            if symbol in prices:
                self._set_first_mark(action.new_symbol, prices[symbol])
            self._targets.rename(symbol, action.new_symbol)
            self._weights.rename(symbol, action.new_symbol)
            changed_symbols[action.new_symbol] = None
        elif action.kind == DELISTING:
            self._targets.close(symbol)
        elif action.kind in (SPIN_OFF, RIGHTS):
            self._distribute(action, changed_symbols)
            self._distribute_to_strategies(action)
            if event is None:
                self._hold_rest(action.new_symbol)
        elif action.kind == MERGER_CASH:
            if symbol in prices and action.cash_per_share:
                self._reduce_mark(symbol, action.cash_per_share)
        else:
            if symbol in prices:
                self._set_mark(symbol, split_price(prices[symbol], ratio))
            self.splits.append((symbol, ratio))
            self._targets.split(symbol, ratio, whole_units=action.amount is not None)
            self._estimates.split(symbol, ratio)
        changed_symbols[symbol] = None
        if event is None and ratio == ONE:
            return []
        # A split also converts the open orders of a symbol without a position: readers of the tables need its time.
        records: list[Record] = [self._ledger.record_event(ts_ns, action.kind, symbol, action.action_id)]
        if event is None:
            return records
        records += self._ledger.apply_action(event)
        if isinstance(event, SpinOff):
            self._hold_rest(event.new_symbol)
        return records

    def _set_first_mark(self, symbol: str, price: float) -> None:
        """Set the mark of a symbol that an action has begun, unless it has one that is not of another company."""
        if symbol in self._reference.ended.reused:
            self._set_mark(symbol, price)  # the feed may repeat the last close of that company
        else:
            self._marks.prices.setdefault(symbol, price)

    def _hold_rest(self, symbol: str) -> None:
        """Assign the distributed shares that no sub-account has received to the manual position.

        They do not belong to a view strategy without limits, because none has decided to hold them or would sell them.
        """
        targets = self._targets.setdefault(symbol, {})
        units = self._ledger.quantity(symbol) - net_held(targets)
        if units:
            apply_own_trade(targets, MANUAL, units, self._marks.prices.get(symbol, 0.0))

    def _distribute(self, action: CorporateAction, changed_symbols: dict[str, None]) -> None:
        """Divide the mark between a share and the distributed shares, until both have traded."""
        symbol, prices = action.symbol, self._marks.prices
        if symbol in prices:
            before = prices[symbol]
            after, distributed = distribution_prices(action, before)
            self._set_mark(symbol, after)
            self._estimates.go_ex(symbol, before, after)
            self._set_first_mark(action.new_symbol, distributed)
            changed_symbols[action.new_symbol] = None

    def _distribute_to_strategies(self, action: CorporateAction) -> None:
        """Let each strategy with a sub-account hold the distributed shares that its sub-account receives."""
        assert action.ratio is not None, f"{action.action_id}: expected a validated corporate action"
        price = self._marks.prices.get(action.new_symbol, 0.0)
        new_targets = self._targets.setdefault(action.new_symbol, {})
        for name, target in self._targets.get(action.symbol, {}).items():
            units, existing = split_units(target.held, action.ratio), new_targets.get(name)
            if not units or name not in self._with_accounts:
                continue
            if action.amount is not None:
                units -= fractional_units(units if existing is None else existing.held + units)
            if units:
                apply_own_trade(new_targets, name, units, price)

    def _book_charges(self, ts_ns: int, charges: Sequence[Charge]) -> list[Record]:
        return [self._ledger.book_charge(ts_ns, charge) for charge in charges]

    def snapshot(self) -> Any:
        return (VERSION, self._reference.snapshot(), self._income.snapshot(), self.adjusted_prices.snapshot())

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Version 1 contains no adjusted prices."""
        version, reference, income, *adjusted = snapshot
        assert version in (1, VERSION), f"portfolio corporate actions snapshot: version {version}, expected {VERSION}"
        for state in adjusted:
            self.adjusted_prices.restore(state)
        self._reference.restore(reference)
        self._income.restore(income)
