"""Warn about bars that a run built from the bars of the feed instead of trades, or could not build or warm up."""

from __future__ import annotations

from collections.abc import Sequence

from configs.declared_trade_bars import declared_trade_bars, trade_bar_names
from configs.settings import Settings
from schemas.records import HistoryTrade, Record, Trade


class TradeCheck:
    """Checks whether the records of a run contain trades, if a strategy declares bars of trades."""

    def __init__(self, settings: Settings) -> None:
        self._declared = declared_trade_bars(settings)
        self._has_trades = settings.market_data.has_trades()
        files = settings.market_data.files
        self._has_start = settings.market_data.feed == "files" and files.start is not None
        self._found = self._found_earlier = False

    @property
    def is_needed(self) -> bool:
        """Whether a strategy builds bars from trades in this run."""
        return bool(self._declared) and self._has_trades

    def observe(self, records: Sequence[Record]) -> None:
        """Receive the records of a time slice."""
        self._found = self._found or any(type(record) is Trade for record in records)
        self._found_earlier = self._found_earlier or any(type(record) is HistoryTrade for record in records)

    def warnings(self) -> list[str]:
        """Return a warning after the run, or nothing."""
        if not self._declared:
            return []
        names = trade_bar_names(self._declared)
        if not self._has_trades:
            return [f"{names} were built from the bars of the feed, because it has no trades: pass --market-trades"]
        if not self._found:
            return [f"the run had no trades, so that no {names} closed: pass --market-trades of this period"]
        if self._has_start and not self._found_earlier:
            return [f"{names} warmed up with the first trades of the run: there were no trades before the start"]
        return []
