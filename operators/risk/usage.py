"""Compute the usage of each limit: exposure, margin and losses of the book, and each position's own limit."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from operators.money import ZERO, divide
from operators.risk.book import RiskBook
from operators.risk.history import RiskHistory
from operators.risk.margin import MarginPosition, requirement
from operators.risk.settings import Limit, RiskSettings

_SECOND_NS = 1_000_000_000


class LimitUtilization(NamedTuple):
    """`used` and `limit` in the unit of the measure. `limit` is None if it is unset or unlimited."""

    measure: str
    scope_key: str  # symbol, "" for the whole book
    used: Decimal
    limit: Decimal | None

    @property
    def share(self) -> float | None:
        return float(self.used / self.limit) if self.limit else None


def margin_positions(book: RiskBook, limits: RiskSettings) -> list[MarginPosition]:
    """Return the positions as input for the margin rules. Every symbol in the book must have a price."""
    out = []
    for symbol, position in book.positions.items():
        instrument, price = limits.instruments.get(symbol), book.price(symbol)
        assert price is not None, f"{symbol} has no price"
        if position.quantity and instrument is not None:
            # The definition of unlisted symbols contains neither their symbol nor their lot size.
            out.append(
                MarginPosition(
                    symbol=symbol,
                    instrument=instrument,
                    quantity=position.quantity,
                    price=price,
                    lot=limits.instruments.lot_size_of(symbol),
                )
            )
    return out


def limit_utilization(book: RiskBook, history: RiskHistory, limits: RiskSettings) -> Iterator[LimitUtilization]:
    """Yield the usage of all limits, exact and in a fixed order; nothing while a symbol has no price. O(positions)."""
    if book.unpriced_symbol() is not None:
        return
    exposure = book.exact_exposure()
    equity = book.equity_at(exposure)
    gross, net = exposure.long + exposure.short, exposure.long - exposure.short
    yield _book_usage("equity", equity, None)
    yield _book_usage("cash", book.cash, None)
    yield _book_usage("reserved_cash", book.reserved, None)
    yield _book_usage("gross_exposure", gross, limits.max_gross_exposure)
    yield _book_usage("net_exposure", abs(net), limits.max_net_exposure)
    yield _book_usage("open_orders", Decimal(len(book.symbol_of)), limits.max_open_orders)
    yield _book_usage("daily_loss", max(ZERO, book.day_start_equity - equity), limits.max_daily_loss)
    if equity > 0:
        yield _book_usage("portfolio_leverage", divide(gross, equity), limits.max_portfolio_leverage)
    if limits.is_enabled("max_drawdown") and history.peak_equity > 0:
        yield _book_usage("drawdown", divide(history.peak_equity - equity, history.peak_equity), limits.max_drawdown)
    if limits.margin is not None:
        requirements = [
            requirement(limits.margin, one.instrument, one.quantity, one.price)
            for one in margin_positions(book, limits)
        ]
        yield _book_usage("margin_initial", sum((one.initial for one in requirements), ZERO), equity)
        yield _book_usage("margin_maintenance", sum((one.maintenance for one in requirements), ZERO), equity)
    if isinstance(limits.max_position_size, Decimal):
        for symbol, position in book.positions.items():
            price = book.price(symbol)
            assert price is not None
            yield LimitUtilization(
                "position_size", symbol, abs(position.value(position.quantity, price)), limits.max_position_size
            )


class UsageReport:
    """The limit usage that was last published. A report contains only what has changed since the one before.

    written_ns  event time of the last report
    rows        the usage of all limits in the last report
    """

    def __init__(self) -> None:
        self.written_ns = 0
        self.rows: list[LimitUtilization] = []

    def changes(self, ts_ns: int, book: RiskBook, history: RiskHistory, limits: RiskSettings) -> list[LimitUtilization]:
        """Return the changed usage if a report is due by `usage_interval_s`, otherwise nothing."""
        if ts_ns - self.written_ns < limits.usage_interval_s * _SECOND_NS:
            return []
        previous, self.rows = self.rows, list(limit_utilization(book, history, limits))
        self.written_ns = ts_ns
        current_keys = {(row.measure, row.scope_key) for row in self.rows}
        # The book has no entry for a closed position. Report a usage of 0 for it.
        closed = [row for row in previous if row.scope_key and (row.measure, row.scope_key) not in current_keys]
        previously_written = set(previous)
        rows = [*self.rows, *(row._replace(used=ZERO) for row in closed if self.rows)]
        return [row for row in rows if row not in previously_written]


def _book_usage(measure: str, used: Decimal, limit: Limit) -> LimitUtilization:
    return LimitUtilization(measure, "", used, limit if isinstance(limit, Decimal) else None)
