"""Feature rows, predictions, fundamentals and scores in, changes of opinion out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from operators.signals.ensemble import ENSEMBLE, LEARNED, EnsembleSettings, Held, weigh
from operators.strategies import READABLE, Strategy, View, id_of, reads_of
from schemas.errors import BadInput
from schemas.records import (
    FeatureRow,
    Fundamentals,
    Prediction,
    Record,
    Signal,
    StrategyWeights,
    feature_id,
    signal_id,
    weights_id,
)

VERSION = 2
KEPT_MAX = 10_000
"""How many symbols' last score or figures wait for their first price."""
FILINGS_KNOWN = 1_000
"""How many filings' ids are kept to drop their repeats."""

UNSPOKEN = Held()
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in READABLE}
Decider = tuple[int, Callable[[Any, Any], tuple[Any, View | None]]]


class SymbolViews:
    """One symbol's signals so far: how many, the last row's close and seq, each strategy's state and last view, and
    the ensemble's.
    """

    __slots__ = ("close", "ensemble", "held", "row_seq", "seq", "states")

    def __init__(self, count: int) -> None:
        self.seq = 0
        self.close = 0.0
        self.row_seq = 0
        self.states: list[Any] = [None] * count
        self.held = [UNSPOKEN] * count
        self.ensemble = UNSPOKEN


class SignalStage:
    """What the strategies read of a shard's symbols in; a Signal out wherever a strategy's direction or strength
    changes.

    Before its first view a strategy counts as out of the symbol. Signals of one record stand in the order of
    `strategies`; `seq` counts a symbol's signals over all of them. A symbol has signals from its first feature row on:
    the row gives the price. Scores and figures come for all symbols of all shards; the last one of each symbol waits
    for that row, of the last `KEPT_MAX` symbols heard of. Raises BadInput for two strategies of one name, and when a
    strategy gives a view out of range.

    A filing that comes again (same `fundamentals_id`) is not heard: it would bring old figures back.

    With the ensemble enabled, a tick that changed a strategy's view or the weights ends with the ensemble's own Signals
    wherever its view changed: `parts` are what each strategy contributes, `cause_ids` their signals.
    """

    def __init__(self, strategies: Sequence[Strategy], ensemble: EnsembleSettings | None = None) -> None:
        self.names = [strategy.name for strategy in strategies]
        self._ensemble = ensemble if ensemble is not None and ensemble.enabled else None
        if self._ensemble is not None:
            self._weights = self._ensemble.weights_of(self.names)
            if ENSEMBLE in self.names:
                raise BadInput(f"a strategy is called {ENSEMBLE}, as all of them together are; give it another name")
        self._weights_seq = 0
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
        self._filings: dict[str, None] = {}

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        symbols, of_rows = self._symbols, self._of_rows
        signals: list[Signal] = []
        heard = weighed = False
        for record in records:
            if type(record) is not FeatureRow:
                if type(record) is StrategyWeights:
                    weighed = self._take_weights(record) or weighed
                    continue
                heard = self._hear(ts_ns, record, signals) or heard
                continue
            row = record
            symbol, seq, row_ns, _, close, _ = row
            views = symbols.get(symbol)
            if views is None:
                views = symbols[symbol] = SymbolViews(len(self.names))
            fresh = not views.row_seq
            views.close = close
            views.row_seq = seq
            states = views.states
            for place, decide in of_rows:
                states[place], view = decide(row, states[place])
                if view is not None and _changes(view, views.held[place]):
                    signals.append(self._signal(symbol, row_ns, views, place, view, view.causes))
            if fresh and self._waiting:
                heard = self._catch_up(ts_ns, symbol, views, signals) or heard
        if self._ensemble is not None and (signals or weighed):
            self._agree(ts_ns, list(symbols) if weighed else list(dict.fromkeys(s.symbol for s in signals)), signals)
            heard = True
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
            if record.fundamentals_id in self._filings:
                return False
            self._filings[record.fundamentals_id] = None
            if len(self._filings) > FILINGS_KNOWN:
                del self._filings[next(iter(self._filings))]
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
            if view is not None and _changes(view, views.held[place]):
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
        views.seq += 1
        views.held[place] = Held(direction, strength, confidence, views.seq)
        cause = feature_id(symbol, views.row_seq)
        parts = dict(view.parts)
        return Signal(
            symbol, views.seq, ts_ns, name, direction, strength, confidence, views.close, cause, parts, list(causes)
        )

    def _take_weights(self, given: StrategyWeights) -> bool:
        """Whether they are new and count here."""
        if self._ensemble is None or self._ensemble.weights != LEARNED or given.seq <= self._weights_seq:
            return False
        self._weights_seq = given.seq
        # A strategy that feedback does not know counts as much as the average one.
        even = 1.0 / len(self.names)
        self._weights = [given.weights.get(name, even) for name in self.names]
        return True

    def _agree(self, ts_ns: int, symbols: Sequence[str], signals: list[Signal]) -> None:
        """The ensemble's signals for those of these symbols where its view changed."""
        settings = self._ensemble
        assert settings is not None, "only with an ensemble"
        for symbol in symbols:
            views = self._symbols[symbol]
            opinion = weigh(self.names, self._weights, views.held, settings.threshold)
            if opinion is None:
                continue
            old, strength = views.ensemble, opinion.strength
            if opinion.direction == old.direction and abs(strength - old.strength) < max(settings.change_min, 1e-12):
                continue
            views.seq += 1
            views.ensemble = Held(opinion.direction, strength, opinion.confidence, views.seq)
            causes = [signal_id(symbol, held.seq) for held in views.held if held.seq]
            if self._weights_seq:
                causes.append(weights_id(self._weights_seq))
            cause, parts = feature_id(symbol, views.row_seq), opinion.contributions
            said = (ENSEMBLE, opinion.direction, strength, opinion.confidence)
            signals.append(Signal(symbol, views.seq, ts_ns, *said, views.close, cause, parts, causes))

    def snapshot(self) -> Any:
        """(version, {symbol: (signals written, last close, seq of that row, {strategy: (its state, *its view)}, the
        ensemble's view)}, [(type, fields) of what waits for a first row], (seq of the weights, {strategy: weight})).
        """
        symbols = {
            symbol: (
                views.seq,
                views.close,
                views.row_seq,
                {name: (state, *held) for name, state, held in zip(self.names, views.states, views.held, strict=True)},
                tuple(views.ensemble),
            )
            for symbol, views in self._symbols.items()
        }
        waiting = [(kind.__name__, tuple(record)) for (kind, _), record in self._waiting.items()]
        weights = {} if self._ensemble is None else dict(zip(self.names, self._weights, strict=True))
        return (VERSION, symbols, waiting, (self._weights_seq, weights), list(self._filings))

    def restore(self, snapshot: Any) -> None:
        """A strategy that the snapshot does not hold starts afresh; one that is no longer wanted is dropped. Version 1
        did not keep the last row: its symbols have signals from their next one on. What release 0.1.0 wrote has no
        filings.
        """
        rest: Any
        version, symbols, *rest = snapshot
        assert version in (1, VERSION), f"signals snapshot of version {version}, expected {VERSION}"
        if version == 1:
            symbols = {s: (seq, 0.0, 0, strategies, tuple(UNSPOKEN)) for s, (seq, strategies) in symbols.items()}
        waiting, (self._weights_seq, weights), *heard = rest if rest else ((), (0, {}))
        self._filings = dict.fromkeys(heard[0] if heard else ())
        if weights and self._ensemble is not None and self._ensemble.weights == LEARNED and self._weights_seq:
            self._weights = [weights.get(name, 1.0 / len(self.names)) for name in self.names]
        fresh = (None, *UNSPOKEN)
        self._symbols = {}
        for symbol, (seq, close, row_seq, strategies, ensemble) in symbols.items():
            held = [strategies.get(name, fresh) for name in self.names]
            views = self._symbols[symbol] = SymbolViews(len(self.names))
            views.seq, views.close, views.row_seq = seq, close, row_seq
            views.states = [one[0] for one in held]
            views.held = [Held(*one[1:]) for one in held]
            views.ensemble = Held(*ensemble)
        self._waiting = {}
        for name, values in waiting:
            record = _KINDS[name]._make(values)
            if type(record) in self._deciders:
                self._waiting[type(record), record.symbol] = record


def _changes(view: View, held: Held) -> bool:
    """Whether it is another opinion; confidence alone changes none."""
    return view.direction != held.direction or view.strength != held.strength
