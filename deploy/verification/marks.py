"""Prices at which the positions of the rebuilt ledger are valued at a time slice, read from stored and archived bars.

The rules are those of `operators/valuation.py`: the close of the symbol's last bar; before its first bar, the price of
its first execution; between a split or ex-date and the next trade, the adjusted close; after a symbol change, the price
of the old symbol until the first bar of the new one. Each lookup reads one index entry per symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from operators.adjusted_prices import ex_price, split_price
from operators.ledger import Ledger
from operators.ledger.events import distribution_prices, share_ratio
from operators.money import ONE, ZERO, multiply, to_decimal
from schemas.records import MERGER_CASH, RIGHTS, SPIN_OFF, SYMBOL_CHANGE, TRADE, CorporateAction, Execution
from sinks.archived_partitions import archived_bars

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

    from sinks.archive.table_archive import TableArchive

_LAST_BARS = """
SELECT w.symbol, b.ts_ns, b.close FROM unnest(%s::text[]) AS w(symbol)
CROSS JOIN LATERAL (
    SELECT ts_ns, close FROM bars
    WHERE bars.symbol = w.symbol AND ts_ns <= %s AND (traded OR w.symbol <> ALL (%s::text[]))
    ORDER BY ts_ns DESC LIMIT 1
) b
"""
_HAS_ENDED = """
SELECT EXISTS (
    SELECT FROM corporate_actions a
    WHERE a.symbol = %(symbol)s AND a.kind IN ('SYMBOL_CHANGE', 'DELISTING', 'STOCK_MERGER', 'CASH_MERGER')
    AND a.ts_ns <= %(ts_ns)s AND a.ex_date <= %(day)s
    AND NOT EXISTS (
        SELECT FROM bars b WHERE b.symbol = a.symbol AND b.ts_ns < %(ts_ns)s AND b.traded
        AND CASE WHEN a.ex_date > 0 THEN b.trading_day >= a.ex_date ELSE b.ts_ns > a.ts_ns END
    )
)
"""
_ANY_DAY = 99_999_999
TimedPrice = tuple[int, float]
"""Time from which the price applies, and the price."""


class RebuiltMarks:
    """Marks, including the events that move a mark without a bar. Report these events in the order of the books."""

    def __init__(
        self,
        db: Connection,
        archive: TableArchive | None = None,
        prices: Mapping[str, float] | None = None,
        slice_ns: int = -1,
    ) -> None:
        """`archive` has the bars that are no longer in the table. `prices` are the marks after the time slice
        `slice_ns`, which apply until a symbol's next bar.
        """
        self._db, self._archived_bars = db, archived_bars(db, archive)
        self._prices_without_bar: dict[str, TimedPrice] = {
            symbol: (slice_ns, price) for symbol, price in (prices or {}).items()
        }
        self._adjustments: dict[str, list[tuple[int, Callable[[float], float]]]] = {}  # time, old price -> new price
        self._begun: dict[str, int] = {}  # symbol -> start of the company that has used the name of another one again
        self._after_ns = slice_ns
        self._ex_dividends: set[str] = set()  # action ids

    def on_execution(self, execution: Execution) -> None:
        if execution.exec_type == TRADE:
            self._prices_without_bar.setdefault(execution.symbol, (execution.ts_ns, float(execution.price)))

    def on_corporate_action(self, ts_ns: int, action: CorporateAction) -> None:
        """Record an action that took effect at `ts_ns`, before the bars of that time slice."""
        if action.kind == SYMBOL_CHANGE:
            price = self.prices([action.symbol], ts_ns - 1).get(action.symbol)
            if price is not None:
                self._begin(action, ts_ns, price)
        elif action.kind in (SPIN_OFF, RIGHTS):
            price = self.prices([action.symbol], ts_ns - 1).get(action.symbol)
            if price is not None:
                self._begin(action, ts_ns, distribution_prices(action, price)[1])
            self._adjust(action.symbol, ts_ns, lambda price: distribution_prices(action, price)[0])
        elif action.kind == MERGER_CASH:
            self._adjust(action.symbol, ts_ns, lambda price: ex_price(price, action.cash_per_share or ZERO))
        elif (ratio := share_ratio(action)) != ONE:
            self._adjust(action.symbol, ts_ns, lambda price: split_price(price, ratio))

    def _begin(self, action: CorporateAction, ts_ns: int, price: float) -> None:
        """Record the price of the new symbol of an action until its first bar. Bars of another company do not count."""
        symbol = action.new_symbol
        if self._has_ended(symbol, ts_ns, action.ex_date or _ANY_DAY):
            self._begun[symbol], self._prices_without_bar[symbol] = ts_ns, (ts_ns, price)
        else:
            self._prices_without_bar.setdefault(symbol, (ts_ns, price))

    def _has_ended(self, symbol: str, ts_ns: int, day: int) -> bool:
        """Whether a symbol was renamed, merged or delisted, and has not traded since."""
        with self._db.cursor() as cursor:
            cursor.execute(_HAS_ENDED, {"symbol": symbol, "ts_ns": ts_ns, "day": day})
            (has_ended,) = cursor.fetchone() or (False,)
        return bool(has_ended)

    def on_dividend(self, ts_ns: int, dividend: CorporateAction, per_unit: Decimal) -> None:
        """Record a dividend of `per_unit` in the symbol's currency at its ex-date. Its later payment moves no mark."""
        if dividend.action_id not in self._ex_dividends:
            self._ex_dividends.add(dividend.action_id)
            self._adjust(dividend.symbol, ts_ns, lambda price: ex_price(price, per_unit))

    def _adjust(self, symbol: str, ts_ns: int, new_price: Callable[[float], float]) -> None:
        self._adjustments.setdefault(symbol, []).append((ts_ns, new_price))

    def market_value(self, ledger: Ledger, ts_ns: int) -> Decimal:
        """Return the market value of all positions at the marks of a time slice. Short positions count as negative."""
        positions = [position for position in ledger.positions() if position.quantity]
        prices = self.prices([position.symbol for position in positions], ts_ns)
        total = ZERO
        for position in positions:
            value = multiply(position.quantity, to_decimal(prices[position.symbol]))
            total += value if position.unit_value is ONE else multiply(value, position.unit_value)
        return total

    def prices(self, symbols: Sequence[str], ts_ns: int) -> dict[str, float]:
        """Return the mark of each symbol that has one, from the bars up to `ts_ns`."""
        marks = {symbol: self._prices_without_bar[symbol] for symbol in symbols if symbol in self._prices_without_bar}
        if symbols:
            with self._db.cursor() as cursor:
                cursor.execute(_LAST_BARS, (list(symbols), ts_ns, [*self._adjustments, *self._begun]))
                stored = {symbol: (at_ns, close) for symbol, at_ns, close in cursor.fetchall()}
            for symbol in symbols:
                mark = stored.get(symbol) or self._archived_bars.last_close(
                    symbol, ts_ns, traded_only=symbol in self._adjustments
                )
                if mark is not None and mark[0] >= self._begun.get(symbol, 0) and mark[0] > self._after_ns:
                    marks[symbol] = mark
        return {symbol: self._adjusted(symbol, *price) for symbol, price in marks.items()}

    def _adjusted(self, symbol: str, at_ns: int, price: float) -> float:
        for action_ns, new_price in self._adjustments.get(symbol, ()):
            if action_ns > at_ns:
                price = new_price(price)
        return price
