"""Apply corporate actions, exchange rates, dividends and interest to risk's book, by the same rules as the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.adjusted_prices import AdjustedPrices, ex_price, split_price
from operators.ledger.cash import AccrualSettings, Charge, ShortPosition
from operators.ledger.corporate_actions import Delisting, MergerCash, SpinOff, SymbolChange
from operators.ledger.events import AccountIncome, distribution_prices, share_ratio, to_ledger_event
from operators.money import ZERO, divide, multiply, to_decimal
from operators.reference_data import ReferenceData
from operators.risk.book import RiskBook
from operators.risk.breaker_meters import BreakerMeters
from operators.risk.history import RiskHistory
from schemas.records import (
    CASH_DIVIDEND,
    DELISTING,
    MERGER_CASH,
    RIGHTS,
    SPIN_OFF,
    SYMBOL_CHANGE,
    CorporateAction,
    Record,
)

VERSION = 2


class RiskCorporateActions:
    """Updates of risk's book, history and breaker meters that do not come from trades."""

    def __init__(
        self, settings: AccrualSettings, currency: str, book: RiskBook, history: RiskHistory, meters: BreakerMeters
    ) -> None:
        self._reference, self._income = ReferenceData(currency=currency), AccountIncome(settings)
        self._book, self._history, self._meters = book, history, meters
        self.adjusted_prices = AdjustedPrices()

    @property
    def reference(self) -> ReferenceData:
        """The reference data that has arrived. Read-only."""
        return self._reference

    def open_day(self, previous_day: int, day: int) -> None:
        """Start a trading day and book due interest, fees and dividends. `book` has the previous day's close.

        A short position without a price accrues no borrow fee.
        """
        book = self._book
        shorts = {
            symbol: ShortPosition(-position.quantity, to_decimal(book.last_bars[symbol].close))
            for symbol, position in book.positions.items()
            if position.quantity < 0 and symbol in book.last_bars
        }
        self._book_charges(self._income.open_day(previous_day, day, book.cash, shorts))

    def _book_charges(self, charges: Sequence[Charge]) -> None:
        self._book.cash += sum((charge.amount for charge in charges), ZERO)
        self._book.accrued = self._income.accrued

    def apply_due(self, ts_ns: int, records: Sequence[Record], day: int) -> None:
        """Apply the rates and corporate actions that take effect in this time slice, before its executions."""
        book = self._book
        for due_record in self._reference.pop_due(records):
            if not isinstance(due_record, CorporateAction):
                book.set_rate(due_record.base, due_record.rate)
            elif due_record.kind == CASH_DIVIDEND:
                quantity, rate = book.quantity(due_record.symbol), self._reference.rate_of(due_record.currency)
                self._book_charges(self._income.record_ex_date(due_record, quantity, day, rate))
                self._mark_ex_dividend(due_record, rate)
            else:
                self._apply_action(ts_ns, due_record)

    def _mark_ex_dividend(self, dividend: CorporateAction, rate: Decimal) -> None:
        """Reduce the last price by the dividend, as the portfolio does. The drop is not a return."""
        symbol, book = dividend.symbol, self._book
        if symbol not in book.last_bars:
            return
        assert dividend.amount is not None, f"{dividend.action_id}: expected a validated corporate action"
        self._reduce_price(symbol, divide(multiply(dividend.amount, rate), book.multiplier(symbol)))

    def _reduce_price(self, symbol: str, amount: Decimal) -> None:
        """Reduce the last price by a payment per unit, in the symbol's currency."""
        before = self._book.last_bars[symbol].close
        after = ex_price(before, amount)
        self._set_price(symbol, after)
        self._history.go_ex(symbol, before, after)
        self._meters.go_ex(symbol, before, after)

    def _set_price(self, symbol: str, price: float) -> None:
        self._book.reprice(symbol, price)
        self.adjusted_prices.prices[symbol] = price

    def _apply_action(self, ts_ns: int, action: CorporateAction) -> None:
        book, symbol, ratio = self._book, action.symbol, share_ratio(action)
        event = to_ledger_event(action, ts_ns, book.quantity(symbol))
        if action.kind in (SYMBOL_CHANGE, DELISTING):
            self.adjusted_prices.prices.pop(symbol, None)  # it has no bars any more
        if action.kind == SYMBOL_CHANGE:
            book.rename(symbol, action.new_symbol)
        elif action.kind in (SPIN_OFF, RIGHTS):
            self._divide_price(action)
        elif action.kind == MERGER_CASH:
            if symbol in book.last_bars and action.cash_per_share:
                self._reduce_price(symbol, action.cash_per_share)
        elif action.kind != DELISTING:
            if symbol in book.last_bars:
                self._set_price(symbol, split_price(book.last_bars[symbol].close, ratio))
            book.split_orders(symbol, ratio)
            self._history.split(symbol, ratio)
            self._meters.split(symbol, ratio)
        if action.new_symbol in book.ended_symbols.reused and action.new_symbol in book.last_bars:
            # Until it trades, the feed may repeat the last close of the company before.
            self.adjusted_prices.prices[action.new_symbol] = book.last_bars[action.new_symbol].close
        if event is None or isinstance(event, SymbolChange):
            return
        if isinstance(event, SpinOff):
            book.distribute(symbol, event)
        elif isinstance(event, MergerCash):
            position = book.positions[symbol]
            book.cash += position.value(position.quantity, event.cash)
        elif isinstance(event, Delisting):
            book.close_quantity(symbol, book.quantity(symbol), event.price)
        else:
            book.split(symbol, ratio, event.cash_in_lieu)

    def _divide_price(self, action: CorporateAction) -> None:
        """Divide the last price between a share and the distributed shares, as the portfolio does."""
        symbol, book = action.symbol, self._book
        if symbol in book.last_bars:
            before = book.last_bars[symbol].close
            after, distributed = distribution_prices(action, before)
            book.add_price(action.new_symbol, distributed, symbol)
            self._set_price(symbol, after)
            self._history.go_ex(symbol, before, after)
            self._meters.go_ex(symbol, before, after)

    def snapshot(self) -> Any:
        return (VERSION, self._reference.snapshot(), self._income.snapshot(), self.adjusted_prices.snapshot())

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Version 1 contains no adjusted prices."""
        version, reference, income, *adjusted = snapshot
        assert version in (1, VERSION), f"risk corporate actions snapshot: version {version}, expected 1 or {VERSION}"
        for state in adjusted:
            self.adjusted_prices.restore(state)
        self._reference.restore(reference)
        self._income.restore(income)
        self._book.accrued = self._income.accrued
        for currency, rate in self._reference.rates.items():
            self._book.set_rate(currency, rate)
