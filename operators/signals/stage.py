"""The signals stage: pass each input record to the strategies that read it, and publish changed views as signals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from operators.handler_limit import HandlerCalls, HandlerLimit
from operators.raised_error import source_file
from operators.signals.ensemble import ENSEMBLE, LEARNED, EnsembleSettings, LastView
from operators.signals.ensemble_signals import EnsembleSignals
from operators.signals.removed_views import RemovedViews
from operators.signals.suspensions import StrategySuspensions, describe_failure
from operators.signals.symbol_signals import NO_VIEW, UNKNOWN_VIEW, SymbolSignals
from operators.strategies import READABLE, Strategy, TargetView, id_of, reads_of
from operators.strategy_removal import OnRemove
from schemas.errors import BadInput
from schemas.records import (
    RESUME_STRATEGY,
    Command,
    FeatureRow,
    Fundamentals,
    HistoryRow,
    Prediction,
    Record,
    Signal,
    StrategySuspension,
    StrategyWeights,
    feature_id,
    suspension_id,
)

VERSION = 4
PENDING_RECORDS_MAX = 10_000
"""Maximum number of stored records (sentiment scores and fundamentals) for symbols without a price yet."""
FILING_IDS_MAX = 1_000
"""Number of recent filing ids remembered to discard duplicates."""

_RECORD_TYPES: dict[str, Any] = {kind.__name__: kind for kind in READABLE}
Decide = Callable[[Any, Any], tuple[Any, TargetView | None]]
Decider = tuple[int, Decide]


class SignalStage:
    """The logic of the signals service. Publishes a Signal when a strategy's direction or strength changes.

    Before its first view, a strategy has direction 0. Signals of one record are in the order of `strategies`. `seq`
    counts all signals of a symbol. Signals start with a symbol's first feature row, which contains the price. Scores
    and fundamentals arrive for the symbols of all shards. The last record of each symbol is stored until the first
    feature row, for the last `PENDING_RECORDS_MAX` records. Raises BadInput for two strategies with the same name.

    A strategy that raises, returns an invalid view or exceeds `limit` has no effect with this record, and a
    `StrategySuspension` is published. HandlerTimeouts are the first records of a time slice. From the next time slice
    on, all shards suspend the strategy until a RESUME_STRATEGY command, which needs a second person if `approvals`
    contain "releases". Its views stay as they are; for the names in `flatten_on_error`, their direction becomes 0.
    After a resume, the strategy starts without state, because it has missed records.

    If another company begins to trade under a symbol (`FeatureRow.first_seq`), all strategies start without state and
    view of the symbol, and records stored for the old company are dropped. `seq` continues.

    `HistoryRow`s precede the first feature row of a symbol: the strategies process them and their views are ignored.
    The first view after them is published even if its direction is 0, because a strategy may hold a renamed share.

    A duplicate filing (same `fundamentals_id`) is discarded, because it would restore old figures.

    With the ensemble enabled, a time slice that changes a view or the weights ends with the ensemble's signals, for the
    symbols whose combined view changed. Their `parts` are the contributions of the strategies, their `cause_ids` the
    strategies' signals.

    `source_sha256` are the hashes of the user's files behind each strategy, for its signals. With `on_remove: flatten`,
    the direction of a strategy that the settings no longer name becomes 0 in the first time slice without it.
    """

    def __init__(
        self,
        strategies: Sequence[Strategy],
        ensemble: EnsembleSettings | None = None,
        flatten_on_error: Collection[str] = (),
        approvals: Collection[str] = (),
        limit: HandlerLimit | None = None,
        source_sha256: Mapping[str, Sequence[str]] | None = None,
        on_remove: OnRemove = "keep",
    ) -> None:
        self._strategies = list(strategies)
        self.names = [strategy.name for strategy in strategies]
        self._source_sha256 = [list((source_sha256 or {}).get(name, ())) for name in self.names]
        self._flatten_on_error = frozenset(flatten_on_error)
        self._suspensions = StrategySuspensions(approvals)
        self._ensemble = ensemble if ensemble is not None and ensemble.enabled else None
        self._ensemble_signals: EnsembleSignals | None = None
        if self._ensemble is not None:
            self._weights = self._ensemble.initial_weights(self.names)
            if ENSEMBLE in self.names:
                raise BadInput(f"strategy name {ENSEMBLE} is reserved for the ensemble; choose another name")
            self._ensemble_signals = EnsembleSignals(self._ensemble, self.names, self._source_sha256)
        self._weights_seq = 0
        self._on_remove, self._removed_views = on_remove, RemovedViews()
        for name in self.names:
            if self.names.count(name) > 1:
                raise BadInput(f"two strategies have the name {name}; set another name in the parameters of one")
        self._calls, self._is_guarded = HandlerCalls(limit), False
        self._deciders: dict[type, list[Decider]] = {}
        for index, strategy in enumerate(strategies):
            for kind in reads_of(strategy):
                self._deciders.setdefault(kind, []).append((index, strategy.decide))
        self._select_deciders()
        self._symbols: dict[str, SymbolSignals] = {}
        # By type and symbol, least recently updated first. Stored for every symbol, with or without a price, so that
        # the dropped records do not depend on the symbols of this shard.
        self._pending: dict[tuple[type, str], Any] = {}
        self._filing_ids: dict[str, None] = {}

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        is_guarded = self._calls.begin(ts_ns, records)
        if is_guarded != self._is_guarded:
            self._is_guarded = is_guarded
            self._select_deciders()
        symbols, deciders, row_deciders = self._symbols, self._deciders, self._row_deciders
        weights_seq = self._weights_seq
        signals = self._removed_views.close(ts_ns, symbols, records)
        closed = {signal.symbol for signal in signals}
        must_sort = bool(signals)
        for record in records:
            if type(record) is not FeatureRow:
                if type(record) in deciders:
                    must_sort = self._receive(ts_ns, record, signals) or must_sort
                else:
                    must_sort = self._apply(ts_ns, record, signals) or must_sort
                row_deciders = self._row_deciders  # changed by a suspension or a command
                continue
            symbol, seq, row_ns, _, close, _, first_seq = record
            symbol_state = symbols.get(symbol)
            if symbol_state is None:
                symbol_state = symbols[symbol] = SymbolSignals(len(self.names))
            is_first = not symbol_state.row_seq
            if first_seq != symbol_state.first_seq:
                self._begin_company(symbol, symbol_state, first_seq)
                is_first = True
            symbol_state.close = close
            symbol_state.row_seq = seq
            symbol_state.row_ns = row_ns
            states = symbol_state.states
            for index, decide in row_deciders:
                try:
                    state, view = decide(record, states[index])
                    if view is not None and _differs(view, symbol_state.last_views[index]):
                        signals.append(self._signal(symbol, row_ns, symbol_state, index, view, view.causes))
                    states[index] = state
                except Exception as error:  # noqa: BLE001  (code of the user)
                    self._record_failure(ts_ns, index, record, error)
            if is_first and self._pending:
                must_sort = self._replay_pending(ts_ns, symbol, symbol_state, signals) or must_sort
        weights_changed = self._weights_seq != weights_seq
        if self._ensemble is not None and (signals or weights_changed):
            changed = symbols if weights_changed else dict.fromkeys(signal.symbol for signal in signals)
            self._combine(ts_ns, list(changed), signals, closed)
            must_sort = True
        if must_sort:
            # The order in which the readers of the topic receive them.
            signals.sort(key=lambda signal: (signal.ts_ns, signal.symbol, signal.seq))
        return [*signals, *self._suspensions.drain_records()]

    # -- suspensions

    def _select_deciders(self) -> None:
        """Select the strategies to run: all that are not suspended. Where a time limit or a recorded timeout applies,
        each call is guarded; otherwise it costs nothing.
        """
        self._active_deciders = {
            kind: [
                (index, self._guarded(index, decide) if self._is_guarded else decide)
                for index, decide in deciders
                if self.names[index] not in self._suspensions
            ]
            for kind, deciders in self._deciders.items()
        }
        self._row_deciders = self._active_deciders.get(FeatureRow, [])

    def _guarded(self, index: int, decide: Decide) -> Decide:
        name, run = self.names[index], self._calls.run
        code = getattr(decide, "__code__", None)
        file = source_file(self._strategies[index]) if code is None else code.co_filename
        return lambda record, state: run(name, record.symbol, decide, file, record, state)

    def _record_failure(self, ts_ns: int, index: int, record: Any, error: Exception) -> None:
        cause_id = feature_id(record.symbol, record.seq) if type(record) is FeatureRow else id_of(record)
        described = describe_failure(error, self._strategies[index])
        self._suspensions.record_failure(ts_ns, record.symbol, self.names[index], cause_id, described)

    def _apply_suspension(self, ts_ns: int, suspension: StrategySuspension, signals: list[Signal]) -> bool:
        """Stop a strategy that failed in any shard. Return whether signals were added."""
        if not self._suspensions.apply(suspension):
            return False
        self._select_deciders()
        if suspension.strategy not in self._flatten_on_error or suspension.strategy not in self.names:
            return False
        index = self.names.index(suspension.strategy)
        causes = (suspension_id(suspension.symbol, suspension.seq),)
        for symbol, symbol_state in self._symbols.items():
            last_view = symbol_state.last_views[index]
            if (last_view.direction or last_view == UNKNOWN_VIEW) and symbol_state.row_seq:
                view = TargetView(0, 0.0, last_view.confidence, {})
                signals.append(self._signal(symbol, ts_ns, symbol_state, index, view, causes))
        return True

    def _apply_command(self, ts_ns: int, command: Command) -> None:
        if command.kind != RESUME_STRATEGY:
            return
        strategy = self._suspensions.resume(ts_ns, command)
        if strategy is None:
            return
        self._select_deciders()
        if strategy in self.names:
            index = self.names.index(strategy)
            for symbol_state in self._symbols.values():
                symbol_state.states[index] = None

    # -- records

    def _warm_up(self, ts_ns: int, record: HistoryRow) -> None:
        """Pass the row of a bar from before the first one to the strategies. Their views are ignored."""
        row = record.to_feature_row()
        symbol_state = self._symbols.get(row.symbol)
        if symbol_state is None:
            symbol_state = self._symbols[row.symbol] = SymbolSignals(len(self.names))
            symbol_state.forget_views()
        if row.first_seq != symbol_state.first_seq:
            self._begin_company(row.symbol, symbol_state, row.first_seq)
            symbol_state.row_seq = 0
            symbol_state.forget_views()
        for index, decide in self._row_deciders:
            try:
                symbol_state.states[index], _ = decide(row, symbol_state.states[index])
            except Exception as error:  # noqa: BLE001  (code of the user)
                self._record_failure(ts_ns, index, row, error)

    def _begin_company(self, symbol: str, symbol_state: SymbolSignals, first_seq: int) -> None:
        """Drop the states, views and stored records of the company that traded under the symbol before."""
        for kind in READABLE:
            pending = self._pending.get((kind, symbol))
            if pending is not None and pending.ts_ns <= symbol_state.row_ns:
                del self._pending[kind, symbol]
        symbol_state.begin(first_seq, len(self.names))

    def _receive(self, ts_ns: int, record: Any, signals: list[Signal]) -> bool:
        """Process a record that strategies read and that is not a feature row. Return whether any strategy ran."""
        record_type = type(record)
        if record_type is Fundamentals:
            if record.fundamentals_id in self._filing_ids:
                return False
            self._filing_ids[record.fundamentals_id] = None
            if len(self._filing_ids) > FILING_IDS_MAX:
                del self._filing_ids[next(iter(self._filing_ids))]
            record = record._replace(ts_ns=ts_ns)  # replace the wall-clock time by event time
        if record_type is not Prediction:
            self._pending.pop((record_type, record.symbol), None)
            self._pending[record_type, record.symbol] = record
            if len(self._pending) > PENDING_RECORDS_MAX:
                del self._pending[next(iter(self._pending))]
        symbol_state = self._symbols.get(record.symbol)
        if symbol_state is None or not symbol_state.row_seq:
            return False
        self._run_strategies(ts_ns, record, symbol_state, signals)
        return True

    def _apply(self, ts_ns: int, record: Any, signals: list[Signal]) -> bool:
        """Apply a record that no strategy reads. Return whether signals were added."""
        if type(record) is StrategySuspension:
            return self._apply_suspension(ts_ns, record, signals)
        if type(record) is StrategyWeights:
            self._apply_weights(record)
        elif type(record) is HistoryRow:
            self._warm_up(ts_ns, record)
        elif type(record) is Command:
            self._apply_command(ts_ns, record)
        return False

    def _replay_pending(self, ts_ns: int, symbol: str, symbol_state: SymbolSignals, signals: list[Signal]) -> bool:
        """Pass the records stored before a symbol's first feature row to the strategies."""
        pending = [record for kind in READABLE if (record := self._pending.get((kind, symbol))) is not None]
        for record in pending:
            self._run_strategies(ts_ns, record, symbol_state, signals)
        return bool(pending)

    def _run_strategies(self, ts_ns: int, record: Any, symbol_state: SymbolSignals, signals: list[Signal]) -> None:
        for index, decide in self._active_deciders[type(record)]:
            try:
                state, view = decide(record, symbol_state.states[index])
                if view is not None and _differs(view, symbol_state.last_views[index]):
                    causes = view.causes or (id_of(record),)
                    signals.append(self._signal(record.symbol, ts_ns, symbol_state, index, view, causes))
                symbol_state.states[index] = state
            except Exception as error:  # noqa: BLE001  (code of the user)
                self._record_failure(ts_ns, index, record, error)

    def _signal(
        self, symbol: str, ts_ns: int, symbol_state: SymbolSignals, index: int, view: TargetView, causes: Sequence[str]
    ) -> Signal:
        source_sha256 = self._source_sha256[index]
        return symbol_state.signal(symbol, ts_ns, self.names[index], index, view, causes, source_sha256)

    def _apply_weights(self, update: StrategyWeights) -> None:
        """Apply published weights, if the ensemble uses learned weights. Duplicates are discarded."""
        if self._ensemble is None or self._ensemble.weights != LEARNED or update.seq <= self._weights_seq:
            return
        self._weights_seq = update.seq
        # A strategy without a published weight gets the average weight.
        equal_weight = 1.0 / len(self.names)
        self._weights = [update.weights.get(name, equal_weight) for name in self.names]

    def _combine(self, ts_ns: int, symbols: Sequence[str], signals: list[Signal], closed: Collection[str]) -> None:
        """Add the ensemble's signals for those of `symbols` whose combined view changed."""
        assert self._ensemble_signals is not None, "only with an ensemble"
        for symbol in symbols:
            state, weights = self._symbols[symbol], (self._weights, self._weights_seq)
            signal = self._ensemble_signals.combine(symbol, ts_ns, state, *weights, closes=symbol in closed)
            if signal is not None:
                signals.append(signal)

    def snapshot(self) -> Any:
        """Return the state as (version, symbols, pending records, weights, filing ids, suspensions).

        symbols: {symbol: `SymbolSignals.snapshot`}. Pending records: [(type, fields)]. Weights: (seq, {strategy:
        weight}).
        """
        symbols = {symbol: symbol_state.snapshot(self.names) for symbol, symbol_state in self._symbols.items()}
        pending = [(kind.__name__, tuple(record)) for (kind, _), record in self._pending.items()]
        weights = {} if self._ensemble is None else dict(zip(self.names, self._weights, strict=True))
        return (
            VERSION,
            symbols,
            pending,
            (self._weights_seq, weights),
            list(self._filing_ids),
            self._suspensions.snapshot(),
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. A strategy that it lacks starts without state; one that no longer runs is dropped.

        Version 1 does not contain the last row, so its symbols have signals from their next row on. Snapshots of
        release 0.1.0 contain no filing ids, those before version 3 no suspensions, and those before version 4 no first
        row of a company and no time of the last row.
        """
        rest: Any
        version, symbols, *rest = snapshot
        assert version in (1, 2, 3, VERSION), f"signals snapshot of version {version}, expected {VERSION}"
        if version == 1:
            symbols = {s: (seq, 0.0, 0, strategies, tuple(NO_VIEW)) for s, (seq, strategies) in symbols.items()}
        pending, (self._weights_seq, weights), *later = rest if rest else ((), (0, {}))
        self._filing_ids = dict.fromkeys(later[0] if later else ())
        if len(later) > 1:
            self._suspensions.restore(later[1])
            self._select_deciders()
        if weights and self._ensemble is not None and self._ensemble.weights == LEARNED and self._weights_seq:
            self._weights = [weights.get(name, 1.0 / len(self.names)) for name in self.names]
        self._symbols = {}
        for symbol, values in symbols.items():
            symbol_state = self._symbols[symbol] = SymbolSignals(len(self.names))
            symbol_state.restore(self.names, values)
        if self._on_remove == "flatten":
            self._removed_views.restore(self.names, symbols)
        self._pending = {}
        for name, values in pending:
            record = _RECORD_TYPES[name]._make(values)
            if type(record) in self._deciders:
                self._pending[type(record), record.symbol] = record


def _differs(view: TargetView, last_view: LastView) -> bool:
    """Whether direction or strength changed. A change of confidence alone does not count."""
    return view.direction != last_view.direction or view.strength != last_view.strength
