"""Apply corporate actions, exchange rates, dividends and interest to risk's book, by the same rules as the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.ledger.cash import AccrualSettings, ShortPosition
from operators.ledger.corporate_actions import Delisting, SymbolChange
from operators.ledger.events import AccountIncome, share_ratio, to_ledger_event
from operators.money import ZERO, to_decimal
from operators.reference_data import ReferenceData
from operators.risk.book import RiskBook
from operators.risk.breaker_meters import BreakerMeters
from operators.risk.history import RiskHistory
from schemas.records import CASH_DIVIDEND, DELISTING, SYMBOL_CHANGE, CorporateAction, Record

VERSION = 1


class RiskCorporateActions:
    """Updates of risk's book, history and breaker meters that do not come from trades."""

    def __init__(
        self, settings: AccrualSettings, currency: str, book: RiskBook, history: RiskHistory, meters: BreakerMeters
    ) -> None:
        self._reference, self._income = ReferenceData(currency=currency), AccountIncome(settings)
        self._book, self._history, self._meters = book, history, meters

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
        book.cash += sum(
            (charge.amount for charge in self._income.open_day(previous_day, day, book.cash, shorts)), ZERO
        )

    def apply_due(self, ts_ns: int, records: Sequence[Record], day: int) -> None:
        """Apply the rates and corporate actions that take effect in this time slice, before its executions."""
        book = self._book
        for due_record in self._reference.take_due(records):
            if not isinstance(due_record, CorporateAction):
                book.set_rate(due_record.base, due_record.rate)
            elif due_record.kind == CASH_DIVIDEND:
                quantity, rate = book.quantity(due_record.symbol), self._reference.rate_of(due_record.currency)
                book.cash += sum(
                    (charge.amount for charge in self._income.record_ex_date(due_record, quantity, day, rate)), ZERO
                )
            else:
                self._apply_action(ts_ns, due_record)

    def _apply_action(self, ts_ns: int, action: CorporateAction) -> None:
        book, symbol, ratio = self._book, action.symbol, share_ratio(action)
        event = to_ledger_event(action, ts_ns, book.quantity(symbol))
        if action.kind == SYMBOL_CHANGE:
            if book.quantity(symbol) * book.quantity(action.new_symbol) < 0:
                return
            book.rename(symbol, action.new_symbol)
        elif action.kind != DELISTING:
            book.reprice(symbol, ratio)
            self._history.split(symbol, ratio)
            self._meters.split(symbol, ratio)
        if event is None or isinstance(event, SymbolChange):
            return
        if isinstance(event, Delisting):
            book.close_quantity(symbol, book.quantity(symbol), event.price)
        else:
            book.split(symbol, ratio, event.cash_in_lieu)

    def snapshot(self) -> Any:
        return (VERSION, self._reference.snapshot(), self._income.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, reference, income = snapshot
        assert version == VERSION, f"risk corporate actions snapshot: version {version}, expected {VERSION}"
        self._reference.restore(reference)
        self._income.restore(income)
        for currency, rate in self._reference.rates.items():
            self._book.set_rate(currency, rate)
