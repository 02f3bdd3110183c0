"""The platform's positions from its own executions, adjusted by corporate actions from their ex-date on."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.gateway.translation import whole_units
from operators.money import ONE, ZERO, multiply
from schemas.records import (
    DELISTING,
    SPLIT,
    STOCK_DIVIDEND,
    SYMBOL_CHANGE,
    Bar,
    CorporateAction,
    Record,
)

ACTION_IDS_MAX = 1000


class GatewayPositions:
    """Signed units by symbol, without zeros."""

    def __init__(self) -> None:
        self.quantities: dict[str, Decimal] = {}
        self._day = 0
        self._pending: list[CorporateAction] = []
        self._seen_ids: dict[str, None] = {}

    def quantity_of(self, symbol: str) -> Decimal:
        return self.quantities.get(symbol, ZERO)

    def add(self, symbol: str, signed_quantity: Decimal) -> None:
        self._set(symbol, self.quantity_of(symbol) + signed_quantity)

    def apply_corporate_actions(self, records: Sequence[Record]) -> None:
        """Apply the corporate actions that are due by the trading day of the bars. Call first in a time slice."""
        for record in records:
            if type(record) is CorporateAction and record.action_id not in self._seen_ids:
                self._seen_ids[record.action_id] = None
                if len(self._seen_ids) > ACTION_IDS_MAX:
                    del self._seen_ids[next(iter(self._seen_ids))]
                self._pending.append(record)
            elif type(record) is Bar:
                self._day = max(self._day, record.trading_day)
                break
        due = [one for one in self._pending if one.ex_date <= self._day]
        if due:
            self._pending = [one for one in self._pending if one.ex_date > self._day]
            for action in due:
                self._apply_action(action)

    def _apply_action(self, action: CorporateAction) -> None:
        before = self.quantity_of(action.symbol)
        if not before:
            return
        if action.kind in (SPLIT, STOCK_DIVIDEND) and action.ratio is not None:
            after = multiply(before, action.ratio if action.kind == SPLIT else ONE + action.ratio)
            # With cash in lieu, a fraction of a share is paid out.
            self._set(action.symbol, after if action.amount is None else whole_units(after))
        elif action.kind == SYMBOL_CHANGE:
            self._set(action.symbol, ZERO)
            self.add(action.new_symbol, before)
        elif action.kind == DELISTING:
            self._set(action.symbol, ZERO)

    def _set(self, symbol: str, quantity: Decimal) -> None:
        if quantity:
            self.quantities[symbol] = quantity
        else:
            self.quantities.pop(symbol, None)

    def snapshot(self) -> tuple[Any, ...]:
        return (dict(self.quantities), self._day, [tuple(action) for action in self._pending], list(self._seen_ids))

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        quantities, self._day, pending, seen_ids = snapshot
        self.quantities, self._seen_ids = dict(quantities), dict.fromkeys(seen_ids)
        self._pending = [CorporateAction._make(values) for values in pending]
