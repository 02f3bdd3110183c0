"""Estimate what it costs to follow a signal: fees of the account's own fills, and slippage."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.money import ONE, multiply
from schemas.records import TRADE, Execution

_ACCOUNT = ""


class TradingCosts:
    """The cost of a round trip by symbol, as a fraction of the traded value.

    The fee rate is the fees of all fills of the symbol so far, divided by their value; before its first fill, that of
    all fills of the account. `slippage` is the expected slippage of one trade, as a fraction of the price.
    """

    __slots__ = ("_slippage", "_totals")

    def __init__(self, slippage: float) -> None:
        self._slippage = slippage
        self._totals: dict[str, tuple[float, float]] = {}  # symbol -> fees and value of its fills; "" is the account

    def record_execution(self, execution: Execution, unit_value: Decimal) -> None:
        """Count a fill. `unit_value` is the value in account currency of one unit at a price of 1."""
        if execution.exec_type != TRADE:
            return
        value = multiply(execution.quantity, execution.price)
        value_float = float(value if unit_value is ONE else multiply(value, unit_value))
        fee, totals = float(execution.fee), self._totals
        for name in (execution.symbol, _ACCOUNT):
            fees, total = totals.get(name, (0.0, 0.0))
            totals[name] = (fees + fee, total + value_float)

    def round_trip(self, symbol: str) -> float:
        """The expected cost of a purchase and a sale, as a fraction of the value of one of them."""
        fees, value = self._totals.get(symbol) or self._totals.get(_ACCOUNT) or (0.0, 0.0)
        return 2.0 * (self._slippage + (fees / value if value > 0.0 else 0.0))

    def rename(self, old: str, new: str) -> None:
        """Let a new symbol have the fee rate of the old one, unless it has its own."""
        totals = self._totals.pop(old, None)
        if totals is not None:
            self._totals.setdefault(new, totals)

    def snapshot(self) -> Any:
        """Return {symbol: (fees, value)}; the symbol "" stands for the account."""
        return dict(self._totals)

    def restore(self, snapshot: Any) -> None:
        self._totals = dict(snapshot)
