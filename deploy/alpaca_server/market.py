"""The market of the local broker: prices of the seeded simulator, or prices set from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dataflows.sources.simulator import CHOPPY, PricePath

SECOND_NS = 1_000_000_000


class BarRow(NamedTuple):
    """One bar as Alpaca sends it. `open_ns` is the start of the bar."""

    symbol: str
    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class LocalMarket:
    """Simulated bars of `interval_s` seconds, which are a function of time, or recorded bars.

    With `seed` None there is no simulation: all bars come from `record`.
    """

    def __init__(self, symbols: Sequence[str], seed: int | None, interval_s: int) -> None:
        self.symbols = tuple(symbols)
        self.interval_ns = interval_s * SECOND_NS
        self._paths = {} if seed is None else {symbol: PricePath(seed, symbol, CHOPPY) for symbol in symbols}
        self._recorded: dict[str, dict[int, BarRow]] = {symbol: {} for symbol in symbols}

    @property
    def simulated(self) -> bool:
        return bool(self._paths)

    def bar(self, symbol: str, open_ns: int) -> BarRow | None:
        """Return the bar that opens at `open_ns`, None if nothing traded."""
        if symbol in self._paths:
            row = self._paths[symbol].row(symbol, open_ns // self.interval_ns)
            return None if row is None else BarRow(symbol, open_ns, *row[1:])
        return self._recorded.get(symbol, {}).get(open_ns)

    def bars(self, symbol: str, start_ns: int, end_ns: int, now_ns: int, limit: int) -> list[BarRow]:
        """Return the closed bars that open in [start_ns, end_ns], oldest first, at most `limit`."""
        last_ns = min(end_ns, now_ns - self.interval_ns)
        if symbol not in self._paths:
            recorded = self._recorded.get(symbol, {})
            return [recorded[at] for at in sorted(recorded) if start_ns <= at <= last_ns][:limit]
        rows: list[BarRow] = []
        at = -(-start_ns // self.interval_ns) * self.interval_ns
        while at <= last_ns and len(rows) < limit:
            row = self.bar(symbol, at)
            if row is not None:
                rows.append(row)
            at += self.interval_ns
        return rows

    def price(self, symbol: str, now_ns: int) -> float | None:
        """Return the simulated price at `now_ns`, None without a simulation."""
        return self._paths[symbol].price(now_ns // self.interval_ns) if symbol in self._paths else None

    def record(self, row: BarRow) -> None:
        self._recorded.setdefault(row.symbol, {})[row.open_ns] = row
