"""Feature rows, predictions, fundamentals and scores in, changes of opinion out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from operators.strategies import READABLE, Strategy, View, id_of, reads_of
from schemas.errors import BadInput
from schemas.records import FeatureRow, Fundamentals, Prediction, Record, Signal, feature_id

VERSION = 2
KEPT_MAX = 10_000
"""How many symbols' last score or figures wait for their first price."""

FLAT = (0, 0.0)
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in READABLE}
Decider = tuple[int, Callable[[Any, Any], tuple[Any, View | None]]]


class SymbolViews:
    """One symbol's signals so far: how many, the last row's close and seq, each strategy's state and its last
    (direction, strength).
    """

    __slots__ = ("close", "held", "row_seq", "seq", "states")

    def __init__(self, count: int) -> None:
        self.seq = 0
        self.close = 0.0
        self.row_seq = 0
        self.states: list[Any] = [None] * count
        self.held: list[tuple[int, float]] = [FLAT] * count


class SignalStage:
    """What the strategies read of a shard's symbols in; a Signal out wherever a strategy's direction or strength
    changes.

    Before its first view a strategy counts as out of the symbol. Signals of one record stand in the order of
    `strategies`; `seq` counts a symbol's signals over all of them. A symbol has signals from its first feature row on:
    the row gives the price. Scores and figures come for all symbols of all shards; the last one of each symbol waits
    for that row, of the last `KEPT_MAX` symbols heard of. Raises BadInput for two strategies of one name, and when a
    strategy gives a view out of range.
    """

    def __init__(self, strategies: Sequence[Strategy]) -> None:
        self.names = [strategy.name for strategy in strategies]
        for name in self.names:
            if self.names.count(name) > 1:
                raise BadInput(f"two strategies are called {name}; give one of them another name in its parameters")
        self._deciders: dict[type, list[Decider]] = {}
        for place, strategy in enumerate(strategies):
            for kind in reads_of(strategy):
                self._deciders.setdefault(kind, []).append((place, strategy.decide))
        self._of_rows = self._deciders.get(FeatureRow, [])
        self._symbols: dict[str, SymbolViews] = {}
        # By type and symbol, the longest unheard of first. Kept for every symbol, priced or not: what is dropped must
        # not depend on which symbols this shard has.
        self._waiting: dict[tuple[type, str], Any] = {}

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        symbols, of_rows = self._symbols, self._of_rows
        signals: list[Signal] = []
        heard = False
        for record in records:
            if type(record) is not FeatureRow:
                heard = self._hear(ts_ns, record, signals) or heard
                continue
            row = record
            views = symbols.get(row.symbol)
            if views is None:
                views = symbols[row.symbol] = SymbolViews(len(self.names))
            fresh = not views.row_seq
            views.close = row.close
            views.row_seq = row.seq
            states = views.states
            for place, decide in of_rows:
                states[place], view = decide(row, states[place])
                if view is not None and (view.direction, view.strength) != views.held[place]:
                    signals.append(self._signal(row.symbol, row.ts_ns, views, place, view, view.causes))
            if fresh and self._waiting:
                heard = self._catch_up(ts_ns, row.symbol, views, signals) or heard
        if heard:
            # As the topic's readers will have them.
            signals.sort(key=lambda signal: (signal.ts_ns, signal.symbol, signal.seq))
        return signals  # type: ignore[return-value]

    def _hear(self, ts_ns: int, record: Any, signals: list[Signal]) -> bool:
        """Take in what is no feature row; whether any strategy was asked."""
        kind = type(record)
        deciders = self._deciders.get(kind)
        if deciders is None:
            return False
        if kind is Fundamentals:
            record = record._replace(ts_ns=ts_ns)  # the learner's wall clock decides nothing
        if kind is not Prediction:
            self._waiting.pop((kind, record.symbol), None)
            self._waiting[kind, record.symbol] = record
            if len(self._waiting) > KEPT_MAX:
                del self._waiting[next(iter(self._waiting))]
        views = self._symbols.get(record.symbol)
        if views is None or not views.row_seq:
            return False
        self._ask(ts_ns, record, views, signals)
        return True

    def _catch_up(self, ts_ns: int, symbol: str, views: SymbolViews, signals: list[Signal]) -> bool:
        """Give the strategies what was known of a symbol before its first row."""
        waiting = [record for kind in READABLE if (record := self._waiting.get((kind, symbol))) is not None]
        for record in waiting:
            self._ask(ts_ns, record, views, signals)
        return bool(waiting)

    def _ask(self, ts_ns: int, record: Any, views: SymbolViews, signals: list[Signal]) -> None:
        for place, decide in self._deciders[type(record)]:
            views.states[place], view = decide(record, views.states[place])
            if view is not None and (view.direction, view.strength) != views.held[place]:
                causes = view.causes or (id_of(record),)
                signals.append(self._signal(record.symbol, ts_ns, views, place, view, causes))

    def _signal(
        self, symbol: str, ts_ns: int, views: SymbolViews, place: int, view: View, causes: Sequence[str]
    ) -> Signal:
        name = self.names[place]
        direction, strength, confidence = view.direction, view.strength, view.confidence
        if direction not in (-1, 0, 1) or not (0.0 <= strength <= 1.0 and 0.0 <= confidence <= 1.0):
            raise BadInput(
                f"strategy {name} on {symbol}: direction must be -1, 0 or 1, strength and confidence in [0, 1], "
                f"found {direction}, {strength} and {confidence}"
            )
        views.held[place] = (direction, strength)
        views.seq += 1
        cause = feature_id(symbol, views.row_seq)
        parts = dict(view.parts)
        return Signal(
            symbol, views.seq, ts_ns, name, direction, strength, confidence, views.close, cause, parts, list(causes)
        )

    def snapshot(self) -> Any:
        """(version, {symbol: (signals written, last close, seq of that row, {strategy: (its state, direction,
        strength)})}, [(type, fields) of what waits for a first row]).
        """
        symbols = {
            symbol: (
                views.seq,
                views.close,
                views.row_seq,
                {name: (state, *held) for name, state, held in zip(self.names, views.states, views.held, strict=True)},
            )
            for symbol, views in self._symbols.items()
        }
        return (VERSION, symbols, [(kind.__name__, tuple(record)) for (kind, _), record in self._waiting.items()])

    def restore(self, snapshot: Any) -> None:
        """A strategy that the snapshot does not hold starts afresh; one that is no longer wanted is dropped. Version 1
        did not keep the last row: its symbols have signals from their next one on.
        """
        version, symbols, *waiting = snapshot
        assert version in (1, VERSION), f"signals snapshot of version {version}, expected {VERSION}"
        if version == 1:
            symbols = {symbol: (seq, 0.0, 0, strategies) for symbol, (seq, strategies) in symbols.items()}
        fresh = (None, *FLAT)
        self._symbols = {}
        for symbol, (seq, close, row_seq, strategies) in symbols.items():
            held = [strategies.get(name, fresh) for name in self.names]
            views = self._symbols[symbol] = SymbolViews(len(self.names))
            views.seq, views.close, views.row_seq = seq, close, row_seq
            views.states = [one[0] for one in held]
            views.held = [(one[1], one[2]) for one in held]
        self._waiting = {}
        for name, values in waiting[0] if waiting else ():
            record = _KINDS[name]._make(values)
            if type(record) in self._deciders:
                self._waiting[type(record), record.symbol] = record
