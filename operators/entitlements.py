"""What comes to an account without a trade: shares by corporate actions, money by dividends, interest and fees.

Kept for the portfolio (`operators/portfolio/stage.py`), which owns the books; risk folds the same into its own
by the same rules (`operators/ledger/events.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.ledger import Ledger
from operators.ledger.cash import AccrualSettings, Charge, Short
from operators.ledger.events import Income, event_of, ratio_of
from operators.money import divide, to_decimal
from operators.portfolio.targets import Targets
from operators.reference_data import ReferenceData
from operators.sizing import Estimates, TargetWeights
from operators.valuation import Marks
from schemas.records import CASH_DIVIDEND, DELISTING, EXCHANGE_RATE, SYMBOL_CHANGE, CorporateAction, Record

VERSION = 1


class Entitlements:
    """The account's claims. What they change is in `ledger`, `marks`, `targets`, `estimates` and `weights`."""

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
        self._reference, self._income = ReferenceData(currency=currency), Income(settings)
        self._ledger, self._marks, self._targets, self._estimates = ledger, marks, targets, estimates
        self._weights = weights

    def open_day(self, ts_ns: int, before: int, day: int) -> list[Record]:
        """A trading day (yyyymmdd) begins, with the books of the evening before. Returns what was paid."""
        prices = self._marks.prices
        shorts = {
            one.symbol: Short(-one.quantity, to_decimal(prices[one.symbol]))
            for one in self._ledger.holdings()
            if one.quantity < 0
        }
        return self._paid(ts_ns, self._income.open_day(before, day, self._ledger.cash, shorts))

    def take_effect(self, ts_ns: int, records: Sequence[Record], day: int, moved: dict[str, None]) -> list[Record]:
        """Rates and corporate actions that count from this tick on. Notes in `moved` whose value has changed."""
        out: list[Record] = []
        for one in self._reference.due(records):
            if not isinstance(one, CorporateAction):
                if self._ledger.trades_in(one.base):
                    out.append(self._ledger.note(ts_ns, EXCHANGE_RATE, "", one.rate_id))
                    moved.update(dict.fromkeys(self._ledger.set_rate(one.base, one.rate)))
            elif one.kind == CASH_DIVIDEND:
                held, rate = self._ledger.quantity(one.symbol), self._reference.rate_of(one.currency)
                out += self._paid(ts_ns, self._income.go_ex(one, held, day, rate))
            else:
                out += self._act(ts_ns, one, moved)
        return out

    def _act(self, ts_ns: int, action: CorporateAction, moved: dict[str, None]) -> list[Record]:
        symbol, ratio, prices = action.symbol, ratio_of(action), self._marks.prices
        event = event_of(action, ts_ns, self._ledger.quantity(symbol))
        if action.kind == SYMBOL_CHANGE:
            if self._ledger.quantity(symbol) * self._ledger.quantity(action.new_symbol) < 0:
                return []  # held long under one name and short under the other: nobody can say what becomes of it
            if symbol in prices:
                prices.setdefault(action.new_symbol, prices[symbol])
            self._targets.rename(symbol, action.new_symbol)
            self._weights.rename(symbol, action.new_symbol)
            moved[action.new_symbol] = None
        elif action.kind == DELISTING:
            self._targets.close(symbol)
        else:
            if symbol in prices:
                prices[symbol] = float(divide(to_decimal(prices[symbol]), ratio))
            self._targets.split(symbol, ratio, whole=action.amount is not None)
            self._estimates.split(symbol, ratio)
        moved[symbol] = None
        if event is None:
            return []
        return [self._ledger.note(ts_ns, action.kind, symbol, action.action_id), *self._ledger.act(event)]

    def _paid(self, ts_ns: int, charges: Sequence[Charge]) -> list[Record]:
        return [self._ledger.pay(ts_ns, charge) for charge in charges]

    def snapshot(self) -> Any:
        return (VERSION, self._reference.snapshot(), self._income.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, reference, income = snapshot
        assert version == VERSION, f"entitlements state of version {version}, expected {VERSION}"
        self._reference.restore(reference)
        self._income.restore(income)
