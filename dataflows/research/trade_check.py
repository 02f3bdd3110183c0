"""Warn about bars that a run built from the bars of the feed instead of trades, or could not build at all."""

from __future__ import annotations

from collections.abc import Sequence

from configs.declared_trade_bars import declared_trade_bars
from configs.settings import Settings
from schemas.records import Record, Trade


class TradeCheck:
    """Checks whether the records of a run contain trades, if a strategy declares bars of trades."""

    def __init__(self, settings: Settings) -> None:
        self._declared = declared_trade_bars(settings)
        self._has_trades = settings.market_data.has_trades()
        self._found = False

    @property
    def is_needed(self) -> bool:
        """Whether a strategy builds bars from trades in this run."""
        return bool(self._declared) and self._has_trades

    def observe(self, records: Sequence[Record]) -> None:
        """Receive the records of a time slice."""
        self._found = self._found or any(type(record) is Trade for record in records)

    def warnings(self) -> list[str]:
        """Return a warning after the run, or nothing."""
        if self._found or not self._declared:
            return []
        names = ", ".join(f"{one.interval} of {one.strategy}" for one in self._declared)
        if self._has_trades:
            return [f"the run had no trades, so that no bar of {names} closed: pass --market-trades of this period"]
        return [f"bars of {names} were built from the bars of the feed, because it has no trades: pass --market-trades"]
