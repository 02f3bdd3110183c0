"""The views of strategies that the settings no longer name, until they are closed (`signals.on_remove: flatten`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from operators.signals.ensemble import LastView
from operators.signals.symbol_signals import UNKNOWN_VIEW, SymbolSignals
from operators.strategy_removal import causes_of_removal
from schemas.records import Record, Signal, feature_id


class RemovedViews:
    """The views of removed strategies by symbol. They are closed in the time slice in which the strategy is removed."""

    def __init__(self) -> None:
        self._views: dict[str, dict[str, LastView]] = {}

    def restore(self, names: Collection[str], symbols: Mapping[str, Sequence[Any]]) -> None:
        """Find the strategies in the states of `symbols` that are not in `names` and have a direction."""
        for symbol, (_, _, _, strategies, *_) in symbols.items():
            views = {name: LastView(*view) for name, (_, *view) in strategies.items() if name not in names}
            open_views = {name: view for name, view in views.items() if view.direction or view == UNKNOWN_VIEW}
            if open_views:
                self._views[symbol] = open_views

    def close(self, ts_ns: int, states: Mapping[str, SymbolSignals], records: Sequence[Record]) -> list[Signal]:
        """Return a signal with direction 0 for each view. Its cause is the configuration of the time slice."""
        if not self._views:
            return []
        causes = causes_of_removal(records)
        signals = []
        for symbol, views in self._views.items():
            state = states[symbol]
            for name, view in views.items() if state.row_seq else ():
                state.seq += 1
                signals.append(
                    Signal(
                        symbol=symbol,
                        seq=state.seq,
                        ts_ns=ts_ns,
                        strategy=name,
                        direction=0,
                        strength=0.0,
                        confidence=view.confidence,
                        price=state.close,
                        feature_id=feature_id(symbol, state.row_seq),
                        parts={},
                        cause_ids=causes,
                    )
                )
        self._views = {}
        return signals
