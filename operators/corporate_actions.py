"""Apply corporate actions, exchange rates, dividends, interest and fees to the portfolio's books.

The portfolio (`operators/portfolio/stage.py`) owns the books. Risk applies the same records to its own book by the same
rules (`operators/ledger/events.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.ledger import Ledger
from operators.ledger.cash import AccrualSettings, Charge, ShortPosition
from operators.ledger.events import AccountIncome, share_ratio, to_ledger_event
from operators.money import divide, to_decimal
from operators.portfolio.targets import Targets
from operators.reference_data import ReferenceData
from operators.sizing import Estimates, TargetWeights
from operators.valuation import Marks
from schemas.records import CASH_DIVIDEND, DELISTING, EXCHANGE_RATE, SYMBOL_CHANGE, CorporateAction, Record

VERSION = 1


class PortfolioCorporateActions:
    """Updates of the portfolio that do not come from trades.

    Changes `ledger`, `marks`, `targets`, `estimates` and `weights`.
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
    ) -> None:
        self._reference, self._income = ReferenceData(currency=currency), AccountIncome(settings)
        self._ledger, self._marks, self._targets, self._estimates = ledger, marks, targets, estimates
        self._weights = weights

    def open_day(self, ts_ns: int, previous_day: int, day: int) -> list[Record]:
        """Start a trading day (yyyymmdd) with the previous day's closing balances. Returns the booked charges."""
        prices = self._marks.prices
        shorts = {
            holding.symbol: ShortPosition(-holding.quantity, to_decimal(prices[holding.symbol]))
            for holding in self._ledger.holdings()
            if holding.quantity < 0
        }
        return self._book_charges(ts_ns, self._income.open_day(previous_day, day, self._ledger.cash, shorts))

    def apply_due(
        self, ts_ns: int, records: Sequence[Record], day: int, changed_symbols: dict[str, None]
    ) -> list[Record]:
        """Apply the rates and corporate actions that take effect in this time slice.

        Adds the symbols whose value has changed to `changed_symbols`.
        """
        out: list[Record] = []
        for due_record in self._reference.take_due(records):
            if not isinstance(due_record, CorporateAction):
                if self._ledger.trades_in(due_record.base):
                    out.append(self._ledger.record_event(ts_ns, EXCHANGE_RATE, "", due_record.rate_id))
                    changed_symbols.update(dict.fromkeys(self._ledger.set_rate(due_record.base, due_record.rate)))
            elif due_record.kind == CASH_DIVIDEND:
                quantity, rate = self._ledger.quantity(due_record.symbol), self._reference.rate_of(due_record.currency)
                out += self._book_charges(ts_ns, self._income.record_ex_date(due_record, quantity, day, rate))
            else:
                out += self._apply_action(ts_ns, due_record, changed_symbols)
        return out

    def _apply_action(self, ts_ns: int, action: CorporateAction, changed_symbols: dict[str, None]) -> list[Record]:
        symbol, ratio, prices = action.symbol, share_ratio(action), self._marks.prices
        event = to_ledger_event(action, ts_ns, self._ledger.quantity(symbol))
        if action.kind == SYMBOL_CHANGE:
            if self._ledger.quantity(symbol) * self._ledger.quantity(action.new_symbol) < 0:
                return []  # long under one symbol and short under the other: the result is undefined, change nothing
            if symbol in prices:
                prices.setdefault(action.new_symbol, prices[symbol])
            self._targets.rename(symbol, action.new_symbol)
            self._weights.rename(symbol, action.new_symbol)
            changed_symbols[action.new_symbol] = None
        elif action.kind == DELISTING:
            self._targets.close(symbol)
        else:
            if symbol in prices:
                prices[symbol] = float(divide(to_decimal(prices[symbol]), ratio))
            self._targets.split(symbol, ratio, whole_units=action.amount is not None)
            self._estimates.split(symbol, ratio)
        changed_symbols[symbol] = None
        if event is None:
            return []
        return [
            self._ledger.record_event(ts_ns, action.kind, symbol, action.action_id),
            *self._ledger.apply_action(event),
        ]

    def _book_charges(self, ts_ns: int, charges: Sequence[Charge]) -> list[Record]:
        return [self._ledger.book_charge(ts_ns, charge) for charge in charges]

    def snapshot(self) -> Any:
        return (VERSION, self._reference.snapshot(), self._income.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, reference, income = snapshot
        assert version == VERSION, f"portfolio corporate actions snapshot: version {version}, expected {VERSION}"
        self._reference.restore(reference)
        self._income.restore(income)
