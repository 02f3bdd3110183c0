"""How much of each limit is used: exposure, margin and losses of the whole book, each position against its own."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from operators.money import ZERO, divide
from operators.risk.book import RiskBook
from operators.risk.history import History
from operators.risk.margin import Held, requirement
from operators.risk.settings import Limit, RiskSettings


class Usage(NamedTuple):
    """`used` and `limit` in the unit of the measure; no limit where none is set or it is unlimited."""

    measure: str
    scope_key: str  # symbol, "" for the whole book
    used: Decimal
    limit: Decimal | None

    @property
    def share(self) -> float | None:
        return float(self.used / self.limit) if self.limit else None


def held_of(book: RiskBook, limits: RiskSettings) -> list[Held]:
    """The positions as the margin rules see them; every symbol in the book must have a price."""
    out = []
    for symbol, holding in book.holdings.items():
        instrument, price = limits.instruments.get(symbol), book.price(symbol)
        assert price is not None, f"{symbol} has no price"
        if holding.quantity and instrument is not None:
            # The definition that holds for all unlisted symbols carries neither their name nor their lot.
            out.append(Held(symbol, instrument, holding.quantity, price, limits.instruments.lot_of(symbol)))
    return out


def usage(book: RiskBook, history: History, limits: RiskSettings) -> Iterator[Usage]:
    """All usage, exact, in a fixed order; nothing while a symbol in the book has no price. O(positions)."""
    if book.unpriced() is not None:
        return
    exposure = book.exact_exposure()
    equity = book.cash + exposure.long - exposure.short
    gross, net = exposure.long + exposure.short, exposure.long - exposure.short
    yield _of("equity", equity, None)
    yield _of("cash", book.cash, None)
    yield _of("reserved_cash", book.reserved, None)
    yield _of("gross_exposure", gross, limits.max_gross_exposure)
    yield _of("net_exposure", abs(net), limits.max_net_exposure)
    yield _of("open_orders", Decimal(len(book.symbol_of)), limits.max_open_orders)
    yield _of("daily_loss", max(ZERO, book.day_equity - equity), limits.max_daily_loss)
    if equity > 0:
        yield _of("portfolio_leverage", divide(gross, equity), limits.max_portfolio_leverage)
    if limits.wants("max_drawdown") and history.peak_equity > 0:
        yield _of("drawdown", divide(history.peak_equity - equity, history.peak_equity), limits.max_drawdown)
    if limits.margin is not None:
        required = [
            requirement(limits.margin, one.instrument, one.quantity, one.price) for one in held_of(book, limits)
        ]
        yield _of("margin_initial", sum((one.initial for one in required), ZERO), equity)
        yield _of("margin_maintenance", sum((one.maintenance for one in required), ZERO), equity)
    if isinstance(limits.max_position_size, Decimal):
        for symbol, holding in book.holdings.items():
            price = book.price(symbol)
            assert price is not None
            yield Usage("position_size", symbol, abs(holding.value(holding.quantity, price)), limits.max_position_size)


def _of(measure: str, used: Decimal, limit: Limit) -> Usage:
    return Usage(measure, "", used, limit if isinstance(limit, Decimal) else None)
