"""Prices at which the holdings of the rebuilt ledger are valued at a time slice, read from the stored bars.

The rules are those of `operators/valuation.py`: the close of the symbol's last bar; before its first bar, the price of
its first execution; between a split and the next bar, the split-adjusted close; after a symbol change, the price of
the old symbol until the first bar of the new one. Each lookup reads one index entry per symbol.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from operators.ledger import Ledger
from operators.ledger.events import share_ratio
from operators.money import ONE, ZERO, divide, multiply, to_decimal
from schemas.records import SYMBOL_CHANGE, TRADE, CorporateAction, Execution

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

_LAST_BARS = """
SELECT w.symbol, b.ts_ns, b.close FROM unnest(%s::text[]) AS w(symbol)
CROSS JOIN LATERAL (
    SELECT ts_ns, close FROM bars WHERE bars.symbol = w.symbol AND ts_ns <= %s ORDER BY ts_ns DESC LIMIT 1
) b
"""
Price = tuple[int, float]
"""Time from which the price applies, and the price."""


class RebuiltMarks:
    """Marks, including the events that move a mark without a bar. Report these events in the order of the books."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._prices_without_bar: dict[str, Price] = {}
        self._ratios: dict[str, list[tuple[int, Decimal]]] = {}

    def on_execution(self, execution: Execution) -> None:
        if execution.exec_type == TRADE:
            self._prices_without_bar.setdefault(execution.symbol, (execution.ts_ns, float(execution.price)))

    def on_corporate_action(self, ts_ns: int, action: CorporateAction) -> None:
        """Record an action that took effect at `ts_ns`, before the bars of that time slice."""
        if action.kind == SYMBOL_CHANGE:
            price = self.prices([action.symbol], ts_ns - 1).get(action.symbol)
            if price is not None:
                self._prices_without_bar.setdefault(action.new_symbol, (ts_ns, price))
        elif (ratio := share_ratio(action)) != ONE:
            self._ratios.setdefault(action.symbol, []).append((ts_ns, ratio))

    def market_value(self, ledger: Ledger, ts_ns: int) -> Decimal:
        """Return the market value of all holdings at the marks of a time slice. Short positions count as negative."""
        holdings = [holding for holding in ledger.holdings() if holding.quantity]
        prices = self.prices([holding.symbol for holding in holdings], ts_ns)
        total = ZERO
        for holding in holdings:
            value = multiply(holding.quantity, to_decimal(prices[holding.symbol]))
            total += value if holding.unit_value is ONE else multiply(value, holding.unit_value)
        return total

    def prices(self, symbols: Sequence[str], ts_ns: int) -> dict[str, float]:
        """Return the mark of each symbol that has one, from the bars up to `ts_ns`."""
        marks = {symbol: self._prices_without_bar[symbol] for symbol in symbols if symbol in self._prices_without_bar}
        if symbols:
            with self._db.cursor() as cursor:
                cursor.execute(_LAST_BARS, (list(symbols), ts_ns))
                marks.update({symbol: (at_ns, close) for symbol, at_ns, close in cursor.fetchall()})
        return {symbol: self._split_adjusted(symbol, *price) for symbol, price in marks.items()}

    def _split_adjusted(self, symbol: str, at_ns: int, price: float) -> float:
        for action_ns, ratio in self._ratios.get(symbol, ()):
            if action_ns > at_ns:
                price = float(divide(to_decimal(price), ratio))
        return price
