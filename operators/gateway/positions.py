"""The platform's positions from its own executions, adjusted by corporate actions from their ex-date on."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.ledger.events import apply_to_quantities
from operators.ledger.split_ratio import units_after_trade
from operators.money import ZERO
from operators.reference_data import VERSION as REFERENCE_VERSION
from operators.reference_data import ReferenceData
from schemas.records import CASH_DIVIDEND, CorporateAction, Record


class GatewayPositions:
    """Signed units by symbol, without zeros. Corporate actions change them by the rule of all other books."""

    def __init__(self) -> None:
        self.quantities: dict[str, Decimal] = {}
        self._split_symbols: dict[str, None] = {}  # a remainder too small to trade counts as 0
        self._reference = ReferenceData()

    def quantity_of(self, symbol: str) -> Decimal:
        return self.quantities.get(symbol, ZERO)

    def add(self, symbol: str, signed_quantity: Decimal) -> None:
        was_split = symbol in self._split_symbols
        quantity = units_after_trade(self.quantity_of(symbol), signed_quantity, was_split=was_split)
        if quantity:
            self.quantities[symbol] = quantity
        else:
            self.quantities.pop(symbol, None)

    def apply_corporate_actions(self, records: Sequence[Record]) -> list[CorporateAction]:
        """Apply the corporate actions that take effect in this time slice, and return them. Call first in it."""
        actions = [one for one in self._reference.pop_due(records) if isinstance(one, CorporateAction)]
        for action in actions:
            if action.kind != CASH_DIVIDEND:
                after = apply_to_quantities(self.quantities, self._split_symbols, action, 0)
                self.quantities = {symbol: quantity for symbol, quantity in after.items() if quantity}
        return actions

    def snapshot(self) -> tuple[Any, ...]:
        return (dict(self.quantities), self._reference.snapshot(), list(self._split_symbols))

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore a snapshot. Those of earlier releases contain the last trading day, pending actions and their ids."""
        quantities, *state = snapshot
        self.quantities = dict(quantities)
        if len(state) == 3:
            _, pending, seen_ids = state
            state = [(REFERENCE_VERSION, seen_ids, pending, {}), []]
        reference, split_symbols = state
        self._reference.restore(reference)
        self._split_symbols = dict.fromkeys(split_symbols)
