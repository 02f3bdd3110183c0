"""Targets that trading strategies request: a quantity, a weight, or a view as of a view strategy."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.adjustments import parse_signed
from operators.money import ONE, ZERO
from schemas.records import TARGET_QUANTITY, TARGET_VIEW, TARGET_WEIGHT, StrategyAction

_AMOUNTS = {TARGET_QUANTITY: "quantity", TARGET_WEIGHT: "weight"}
_DIRECTIONS = {"-1": -1, "0": 0, "1": 1}


class RequestedView(NamedTuple):
    """A view: direction -1, 0 or 1, and strength in [0, 1]."""

    direction: int
    strength: float


class RequestedTarget(NamedTuple):
    """A target that the strategy has sized itself: signed units (TARGET_QUANTITY), or a signed share of its equity
    (TARGET_WEIGHT).
    """

    kind: str
    amount: Decimal

    @property
    def direction(self) -> int:
        return (self.amount > 0) - (self.amount < 0)


def parse_target(action: StrategyAction) -> RequestedTarget | RequestedView | None:
    """Return the target of an action; None for an action without one, or whose arguments are invalid.

    The stage of the trading strategies rejects invalid arguments before it publishes an action.
    """
    if action.kind in _AMOUNTS:
        amount = parse_signed(action.arguments.get(_AMOUNTS[action.kind], ""))
        return None if amount is None else RequestedTarget(action.kind, amount)
    if action.kind != TARGET_VIEW:
        return None
    direction = _DIRECTIONS.get(action.arguments.get("direction", ""))
    strength = parse_signed(action.arguments.get("strength", "1"))
    if direction is None or strength is None or not ZERO <= strength <= ONE:
        return None
    return RequestedView(direction, float(strength))
