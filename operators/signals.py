"""Feature rows in, changes of opinion out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.strategies import Strategy, View
from schemas.errors import BadInput
from schemas.records import FeatureRow, Record, Signal, feature_id

VERSION = 1
FLAT = (0, 0.0)


class SymbolViews:
    """One symbol's signals so far: how many, each strategy's state and its last (direction, strength)."""

    __slots__ = ("held", "seq", "states")

    def __init__(self, seq: int, states: list[Any], held: list[tuple[int, float]]) -> None:
        self.seq = seq
        self.states = states
        self.held = held


class SignalStage:
    """Feature rows of a shard's symbols in; a Signal out wherever a strategy's direction or strength changes.

    Before its first view a strategy counts as out of the symbol. Signals of one row stand in the order of
    `strategies`; `seq` counts a symbol's signals over all of them. Raises BadInput for two strategies of one name,
    and when a strategy gives a view out of range.
    """

    def __init__(self, strategies: Sequence[Strategy]) -> None:
        self.names = [strategy.name for strategy in strategies]
        for name in self.names:
            if self.names.count(name) > 1:
                raise BadInput(f"two strategies are called {name}; give one of them another name in its parameters")
        self._deciders = [(place, strategy.decide) for place, strategy in enumerate(strategies)]
        self._symbols: dict[str, SymbolViews] = {}

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        symbols = self._symbols
        signals: list[Record] = []
        for row in records:
            if type(row) is not FeatureRow:
                continue
            views = symbols.get(row.symbol)
            if views is None:
                count = len(self.names)
                views = symbols[row.symbol] = SymbolViews(0, [None] * count, [FLAT] * count)
            states = views.states
            for place, decide in self._deciders:
                states[place], view = decide(row, states[place])
                if view is not None and (view.direction, view.strength) != views.held[place]:
                    signals.append(self._signal(row, views, place, view))
        return signals

    def _signal(self, row: FeatureRow, views: SymbolViews, place: int, view: View) -> Signal:
        name = self.names[place]
        direction, strength, confidence, parts = view
        if direction not in (-1, 0, 1) or not (0.0 <= strength <= 1.0 and 0.0 <= confidence <= 1.0):
            raise BadInput(
                f"strategy {name} on {row.symbol}: direction must be -1, 0 or 1, strength and confidence in [0, 1], "
                f"found {direction}, {strength} and {confidence}"
            )
        views.held[place] = (direction, strength)
        views.seq += 1
        cause = feature_id(row.symbol, row.seq)
        return Signal(
            row.symbol, views.seq, row.ts_ns, name, direction, strength, confidence, row.close, cause, dict(parts)
        )

    def snapshot(self) -> Any:
        """(version, {symbol: (signals written, {strategy: (its state, direction, strength)})})."""
        return (
            VERSION,
            {
                symbol: (
                    views.seq,
                    {
                        name: (state, *held)
                        for name, state, held in zip(self.names, views.states, views.held, strict=True)
                    },
                )
                for symbol, views in self._symbols.items()
            },
        )

    def restore(self, snapshot: Any) -> None:
        """A strategy that the snapshot does not hold starts afresh; one that is no longer wanted is dropped."""
        version, symbols = snapshot
        assert version == VERSION, f"signals snapshot of version {version}, expected {VERSION}"
        fresh = (None, *FLAT)
        self._symbols = {}
        for symbol, (seq, strategies) in symbols.items():
            held = [strategies.get(name, fresh) for name in self.names]
            self._symbols[symbol] = SymbolViews(seq, [one[0] for one in held], [(one[1], one[2]) for one in held])
