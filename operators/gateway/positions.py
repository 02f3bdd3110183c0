"""What the platform holds by its own executions, with corporate actions from the day on which they count."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.gateway.translation import whole
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

ACTIONS_KNOWN = 1000


class Positions:
    """Signed units by symbol; a symbol that is not held is not in it."""

    def __init__(self) -> None:
        self.held: dict[str, Decimal] = {}
        self._day = 0
        self._waiting: list[CorporateAction] = []
        self._seen: dict[str, None] = {}

    def of(self, symbol: str) -> Decimal:
        return self.held.get(symbol, ZERO)

    def add(self, symbol: str, signed: Decimal) -> None:
        self._put(symbol, self.of(symbol) + signed)

    def take_actions(self, records: Sequence[Record]) -> None:
        """A tick's corporate actions and the day of its bars, before anything else of the tick."""
        for record in records:
            if type(record) is CorporateAction and record.action_id not in self._seen:
                self._seen[record.action_id] = None
                if len(self._seen) > ACTIONS_KNOWN:
                    del self._seen[next(iter(self._seen))]
                self._waiting.append(record)
            elif type(record) is Bar:
                self._day = max(self._day, record.trading_day)
                break
        due = [one for one in self._waiting if one.ex_date <= self._day]
        if due:
            self._waiting = [one for one in self._waiting if one.ex_date > self._day]
            for action in due:
                self._act(action)

    def _act(self, action: CorporateAction) -> None:
        held = self.of(action.symbol)
        if not held:
            return
        if action.kind in (SPLIT, STOCK_DIVIDEND) and action.ratio is not None:
            after = multiply(held, action.ratio if action.kind == SPLIT else ONE + action.ratio)
            # With money in lieu, a fraction of a share is paid out and not held.
            self._put(action.symbol, after if action.amount is None else whole(after))
        elif action.kind == SYMBOL_CHANGE:
            self._put(action.symbol, ZERO)
            self.add(action.new_symbol, held)
        elif action.kind == DELISTING:
            self._put(action.symbol, ZERO)

    def _put(self, symbol: str, quantity: Decimal) -> None:
        if quantity:
            self.held[symbol] = quantity
        else:
            self.held.pop(symbol, None)

    def snapshot(self) -> tuple[Any, ...]:
        return (dict(self.held), self._day, [tuple(one) for one in self._waiting], list(self._seen))

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        held, self._day, waiting, seen = snapshot
        self.held, self._seen = dict(held), dict.fromkeys(seen)
        self._waiting = [CorporateAction._make(one) for one in waiting]
