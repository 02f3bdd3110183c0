"""Provider `simulator`: the seeded simulator's bars, as the last fallback when no real money is traded."""

from __future__ import annotations

from collections.abc import Sequence

from dataflows.sources.market.provider import QuoteUpdate, RejectedMessage, RowsBySymbol, TradePrint
from dataflows.sources.simulator import PricePath
from operators.bar_completion import Minute
from schemas.records import TradingStatus


class SimulatedProvider:
    """A provider that is always healthy."""

    name = "simulator"

    def __init__(self, symbols: Sequence[str], seed: int, interval_ns: int) -> None:
        self._paths = {symbol: PricePath(seed, symbol) for symbol in symbols}
        self._interval_ns = interval_ns

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def unhealthy_reason(self, minute: Minute, now_ns: int) -> str:
        return ""

    def rows(self, minute: Minute) -> RowsBySymbol:
        return self._rows_at(minute.open_ns)

    def drain_updates(self) -> tuple[list[QuoteUpdate], list[TradePrint]]:
        return [], []

    def drain_statuses(self) -> list[TradingStatus]:
        return []

    def drain_rejected(self) -> list[RejectedMessage]:
        return []

    def history(self, first_open_ns: int, end_ns: int, *, adjusted: bool = False) -> dict[int, RowsBySymbol]:
        return {open_ns: self._rows_at(open_ns) for open_ns in range(first_open_ns, end_ns, self._interval_ns)}

    def _rows_at(self, open_ns: int) -> RowsBySymbol:
        rows = {symbol: path.row(symbol, open_ns // self._interval_ns) for symbol, path in self._paths.items()}
        return {symbol: row for symbol, row in rows.items() if row is not None}
