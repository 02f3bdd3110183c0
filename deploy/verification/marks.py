"""At which prices the rebuilt ledger's holdings are to be valued at a tick: found in the stored bars, tick by tick.

As in `operators/valuation.py`: the close of the symbol's last bar; before its first bar the price of its first
execution; between a split and the next bar the close in today's shares; under a new name the old one's until its first
bar. Only what is asked for is read: a look at the index for each symbol held.
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
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)

_LAST_BARS = """
SELECT w.symbol, b.ts_ns, b.close FROM unnest(%s::text[]) AS w(symbol)
CROSS JOIN LATERAL (
    SELECT ts_ns, close FROM bars WHERE bars.symbol = w.symbol AND ts_ns <= %s ORDER BY ts_ns DESC LIMIT 1
) b
"""
Price = tuple[int, float]
"""Since when it holds, and the price."""


class RebuiltMarks:
    """What the books went through that moves a mark without a bar. Told of in the order of the books."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._prices_without_bar: dict[str, Price] = {}
        self._ratios: dict[str, list[tuple[int, Decimal]]] = {}

    def on_execution(self, execution: Execution) -> None:
        if execution.exec_type == TRADE:
            self._prices_without_bar.setdefault(execution.symbol, (execution.ts_ns, float(execution.price)))

    def on_corporate_action(self, ts_ns: int, action: CorporateAction) -> None:
        """The action took effect at `ts_ns`, ahead of that tick's bars."""
        if action.kind == SYMBOL_CHANGE:
            price = self.prices([action.symbol], ts_ns - 1).get(action.symbol)
            if price is not None:
                self._prices_without_bar.setdefault(action.new_symbol, (ts_ns, price))
        elif (ratio := share_ratio(action)) != ONE:
            self._ratios.setdefault(action.symbol, []).append((ts_ns, ratio))

    def market_value(self, ledger: Ledger, ts_ns: int) -> Decimal:
        """The market value of all that the ledger holds, short positions negative, at the marks of a tick."""
        holdings = [holding for holding in ledger.holdings() if holding.quantity]
        prices = self.prices([holding.symbol for holding in holdings], ts_ns)
        total = ZERO
        for holding in holdings:
            value = multiply(holding.quantity, to_decimal(prices[holding.symbol]))
            total += value if holding.unit_value is ONE else multiply(value, holding.unit_value)
        return total

    def prices(self, symbols: Sequence[str], ts_ns: int) -> dict[str, float]:
        """The mark of each symbol that has one, with the bars up to `ts_ns`."""
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
