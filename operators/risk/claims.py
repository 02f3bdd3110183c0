"""Corporate actions, exchange rates, dividends and interest in risk's own books, by the rules that the ledger has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.ledger.cash import AccrualSettings, Short
from operators.ledger.corporate_actions import Delisting, SymbolChange
from operators.ledger.events import Income, event_of, ratio_of
from operators.money import ZERO, to_decimal
from operators.reference_data import ReferenceData
from operators.risk.book import RiskBook
from operators.risk.history import History
from operators.risk.meters import Meters
from schemas.records import CASH_DIVIDEND, DELISTING, SYMBOL_CHANGE, CorporateAction, Record

VERSION = 1


class Claims:
    """What changes the book without a trade."""

    def __init__(
        self, settings: AccrualSettings, currency: str, book: RiskBook, history: History, meters: Meters
    ) -> None:
        self._reference, self._income = ReferenceData(currency=currency), Income(settings)
        self._book, self._history, self._meters = book, history, meters

    def open_day(self, before: int, day: int) -> None:
        """A trading day begins; the book is that of the evening before. A short without a price costs nothing yet."""
        book = self._book
        shorts = {
            symbol: Short(-one.quantity, to_decimal(book.last[symbol].close))
            for symbol, one in book.holdings.items()
            if one.quantity < 0 and symbol in book.last
        }
        book.cash += sum((due.amount for due in self._income.open_day(before, day, book.cash, shorts)), ZERO)

    def take_effect(self, ts_ns: int, records: Sequence[Record], day: int) -> None:
        """Rates and corporate actions that count from this tick on, ahead of its executions."""
        book = self._book
        for one in self._reference.due(records):
            if not isinstance(one, CorporateAction):
                book.set_rate(one.base, one.rate)
            elif one.kind == CASH_DIVIDEND:
                held, rate = book.quantity(one.symbol), self._reference.rate_of(one.currency)
                book.cash += sum((due.amount for due in self._income.go_ex(one, held, day, rate)), ZERO)
            else:
                self._act(ts_ns, one)

    def _act(self, ts_ns: int, action: CorporateAction) -> None:
        book, symbol, ratio = self._book, action.symbol, ratio_of(action)
        event = event_of(action, ts_ns, book.quantity(symbol))
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
            book.sell_out(symbol, book.quantity(symbol), event.price)
        else:
            book.split(symbol, ratio, event.cash_in_lieu)

    def snapshot(self) -> Any:
        return (VERSION, self._reference.snapshot(), self._income.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, reference, income = snapshot
        assert version == VERSION, f"claims state of version {version}, expected {VERSION}"
        self._reference.restore(reference)
        self._income.restore(income)
        for currency, rate in self._reference.rates.items():
            self._book.set_rate(currency, rate)
