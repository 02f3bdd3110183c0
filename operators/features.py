"""The features stage: compute the indicators, with one feature row per bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from operators.adjusted_prices import AdjustedPrices, split_price
from operators.bar_completion import OPENING_PRICE_SEQ
from operators.handler_limit import HandlerLimit
from operators.indicator_calls import IndicatorCalls, IndicatorUpdate, own_component
from operators.indicators import INDICATORS, Indicator, build
from operators.ledger.events import distribution_prices, share_ratio
from operators.ledger.split_ratio import exact_ratio
from operators.money import ONE
from operators.raised_error import RaisedError
from operators.reference_data import ReferenceData
from operators.suspended_analysis import (
    are_finite,
    check_snapshot,
    describe_indicator_error,
    invalid_value,
    rescale_letter,
    suspension_letter,
)
from operators.symbol_features import SymbolFeatures, SymbolHistory
from operators.trading.sessions import SessionTimes
from schemas.records import (
    DELISTING,
    RIGHTS,
    SPIN_OFF,
    SYMBOL_CHANGE,
    Bar,
    CorporateAction,
    DeadLetter,
    FeatureRow,
    HistoryBar,
    HistoryRow,
    Quote,
    Record,
)

VERSION = 6


class FeatureStage:
    """The logic of the features service of one shard. Publishes one FeatureRow per Bar, in the order of the bars.

    A bar without a trade counts like any other and repeats the last close, so a moving average over 20 one-minute bars
    covers 20 minutes. `specs` define the indicators (`operators.indicators.build`). Raises BadInput for an invalid one.
    `sessions` are the trading hours by day, for the specs that read them (`reads_sessions`).

    After a split or stock dividend, the indicators continue as if all earlier bars had been in new shares
    (`Indicator.rescale`), and until the first trade, the bars have the adjusted close. After a symbol change or
    delisting, bars of the old symbol without a trade are ignored: it no longer exists. With its next trade, which is
    that of another company, its indicators start without state, and `first_seq` of its rows is the number of that row.
    The `HistoryBar`s of the new symbol warm up its indicators.

    `HistoryBar`s warm up the indicators of a symbol before its first bar. Each yields a `HistoryRow`. Those that repeat
    a bar, or arrive after the first bar, are ignored. Splits that the history already includes are not applied again.
    A history in the shares of a later day, of a feed that starts again before the first bar, replaces the one before.

    An indicator that raises, writes a value that is not finite, or exceeds `limit` (one of the user's files only)
    is suspended for that symbol: from this bar on its values are absent, as in warm-up. A dead letter records it.
    HandlerTimeouts are the first records of a time slice. It runs again after a split or stock dividend, or if a start
    without its spec dropped its state. One that raises while it converts its state after a split warms up again; a dead
    letter records that too.
    """

    def __init__(
        self,
        specs: Sequence[str],
        sessions: Mapping[int, SessionTimes] | None = None,
        limit: HandlerLimit | None = None,
    ) -> None:
        self.specs = tuple(dict.fromkeys(specs))
        self._calls = IndicatorCalls.under(limit)
        self._sessions = sessions or {}
        # A replay can register another version of the user's indicators while this stage is in use.
        self._kinds = dict(INDICATORS)
        # Reject an invalid spec at the start instead of at the first bar.
        indicators = {spec: build(spec) for spec in self.specs}
        for spec, indicator in indicators.items():
            if own_component(indicator) is not None:
                check_snapshot(spec, self._create(spec), self._create(spec))
        components = [component for indicator in indicators.values() for component in indicator.components]
        self._reads_quotes = any(component.reads_quotes for component in components)
        self._symbols: dict[str, SymbolFeatures] = {}
        self._reference = ReferenceData(by_symbol=True)
        self._adjusted_prices = AdjustedPrices()
        self._history: dict[str, SymbolHistory] = {}
        self._retired: dict[str, None] = {}  # symbols that were renamed or delisted, and have not traded since

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        symbols = self._symbols
        if self._calls.begin(ts_ns, records):
            for one in symbols.values():
                one.select_updates()
        rows: list[Record] = []
        letters: list[Record] = []
        for action in self._reference.pop_due(records):
            if isinstance(action, CorporateAction) and action.symbol in symbols:
                letters += self._apply_action(ts_ns, action)
        if self._retired:
            records = self._without_retired(records)
        if self._adjusted_prices.prices:
            records = self._adjusted_prices.adjust_bars(records)
        # tuple.__new__ skips the Python-level constructor of NamedTuple, which is significant at one row per bar.
        construct = tuple.__new__
        for bar in records:
            if type(bar) is not Bar:
                if self._reads_quotes and type(bar) is Quote and bar.symbol in symbols:
                    letters += self._update_quote(bar, symbols[bar.symbol])
                elif type(bar) is HistoryBar:
                    self._add_history(bar, rows, letters)
                continue
            if bar.seq == OPENING_PRICE_SEQ:
                continue
            symbol = bar.symbol
            state = symbols.get(symbol)
            if state is None:
                state = symbols[symbol] = self._new_symbol()
            values: dict[str, float] = {}
            for update in state.updates:
                try:
                    update(bar, values)
                except Exception as error:  # noqa: BLE001  (may be code of the user)
                    letters.append(self._suspend_failed(bar, state, update, values, error))
            try:  # as in `are_finite`, without the cost of its call
                is_valid = isfinite(sum(values.values()))
            except Exception:  # noqa: BLE001  (the values may be objects of the user)
                is_valid = False
            if not is_valid:
                letters += self._suspend_invalid(bar, state, values)
            state.seq = seq = state.seq + 1
            state.close = close = bar.close
            row_values = (symbol, seq, bar.ts_ns, bar.seq, close, values, state.first_seq)
            rows.append(construct(FeatureRow, row_values))
        return [*rows, *letters] if letters else rows

    def _update(self, bar: Bar, state: SymbolFeatures, letters: list[Record]) -> dict[str, float]:
        """Update the indicators of a symbol. Return their values."""
        values: dict[str, float] = {}
        for update in state.updates:
            try:
                update(bar, values)
            except Exception as error:  # noqa: BLE001  (may be code of the user)
                letters.append(self._suspend_failed(bar, state, update, values, error))
        if not are_finite(values):
            letters += self._suspend_invalid(bar, state, values)
        return values

    def _suspend_failed(
        self, bar: Bar, state: SymbolFeatures, update: IndicatorUpdate, values: dict[str, float], error: Exception
    ) -> DeadLetter:
        """Suspend the indicator whose `update` raised."""
        index = state.index_of(update)
        return self._suspend(bar, state, index, values, describe_indicator_error(error, state.indicators[index]))

    def _suspend_invalid(self, bar: Bar, state: SymbolFeatures, values: dict[str, float]) -> list[DeadLetter]:
        """Suspend the indicators of which a value is not finite. Leave out a value that belongs to no indicator.

        Only for values that are not `are_finite`.
        """
        letters: list[DeadLetter] = []
        for index, (spec, indicator) in enumerate(zip(self.specs, state.indicators, strict=True)):
            error = invalid_value(spec, indicator, values)
            if error is not None:
                letters.append(self._suspend(bar, state, index, values, error))
        for name in [name for name, value in values.items() if not are_finite({name: value})]:
            del values[name]
        return letters

    def _add_history(self, record: HistoryBar, rows: list[Record], letters: list[Record]) -> None:
        """Process a bar from before the first one of its symbol. Ignore a repeated bar, and one after the first bar."""
        symbol = record.symbol
        if symbol in self._retired:
            self._begin_company(symbol)
            self._history.pop(symbol, None)
        state, history = self._symbols.get(symbol), self._history.get(symbol)
        has_no_bar = state is not None and history is not None and state.seq == history.row_seq
        if has_no_bar and history is not None and record.adjusted_day > history.adjusted_day:
            self._begin(symbol)
            state, history = self._symbols[symbol], None
        if state is None:
            state = self._symbols[symbol] = self._new_symbol()
        elif history is None:
            if state.seq >= state.first_seq:
                return
        elif state.seq != history.row_seq or record.end_ns <= history.end_ns:
            return
        values = self._update(record.to_bar(), state, letters)
        state.seq += 1
        state.close = record.close
        self._history[symbol] = SymbolHistory(state.seq, record.end_ns, record.adjusted_day)
        rows.append(
            HistoryRow(
                symbol=symbol,
                seq=state.seq,
                ts_ns=record.ts_ns,
                end_ns=record.end_ns,
                bar_seq=record.seq,
                close=record.close,
                values=values,
                first_seq=state.first_seq,
            )
        )

    def _new_symbol(self, seq: int = 0, close: float = 0.0, first_seq: int = 1) -> SymbolFeatures:
        indicators = [self._create(spec) for spec in self.specs]
        return SymbolFeatures(self.specs, indicators, self._calls, seq, close, first_seq)

    def _create(self, spec: str) -> Indicator:
        indicator = build(spec, self._kinds)
        if self._sessions:
            indicator.use_sessions(self._sessions)
        return indicator

    def _update_quote(self, quote: Quote, state: SymbolFeatures) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        for index in state.quote_readers():
            try:
                indicator = state.indicators[index]
                self._calls.run(self.specs[index], indicator, quote.symbol, indicator.update_quote, quote)
            except Exception as error:  # noqa: BLE001  (may be code of the user)
                described = describe_indicator_error(error, state.indicators[index])
                letters.append(self._suspend(quote, state, index, {}, described))
        return letters

    def _apply_action(self, ts_ns: int, action: CorporateAction) -> list[Record]:
        """Apply an action to its symbol. Return the dead letters of the indicators that raised."""
        letters: list[Record] = []
        symbol, ratio, state = action.symbol, share_ratio(action), self._symbols[action.symbol]
        history = self._history.get(symbol)
        if history is not None and 0 < action.ex_date <= history.adjusted_day:
            return letters
        if action.kind in (SYMBOL_CHANGE, DELISTING):
            self._retired[symbol] = None
            self._adjusted_prices.prices.pop(symbol, None)
        elif action.kind in (SPIN_OFF, RIGHTS):
            if state.close:
                state.close, _ = distribution_prices(action, state.close)
                self._adjusted_prices.prices[symbol] = state.close
        elif ratio != ONE:
            for spec, error in state.rescale(symbol, 1.0 / float(exact_ratio(ratio)), self._create):
                letters.append(rescale_letter(spec, action, ts_ns, state.seq, error))
            if state.close:
                state.close = self._adjusted_prices.prices[symbol] = split_price(state.close, ratio)
        return letters

    def _without_retired(self, records: Sequence[Record]) -> list[Record]:
        """Drop the bars without a trade of retired symbols. A trade begins the symbol afresh, with the next row number.

        The feed repeats the last close of every symbol that has ever traded.
        """
        remaining: list[Record] = []
        for record in records:
            if type(record) is Bar and record.symbol in self._retired:
                if not record.traded:
                    continue
                self._begin_company(record.symbol)
            remaining.append(record)
        return remaining

    def _begin_company(self, symbol: str) -> None:
        """Start a retired symbol without state, because another company uses it. Row numbers continue."""
        del self._retired[symbol]
        self._adjusted_prices.prices.pop(symbol, None)
        self._begin(symbol)

    def _begin(self, symbol: str) -> None:
        """Begin the indicators of a symbol afresh, with the next row number."""
        seq = self._symbols[symbol].seq
        self._symbols[symbol] = self._new_symbol(seq, first_seq=seq + 1)

    def _suspend(
        self, record: Bar | Quote, state: SymbolFeatures, index: int, values: dict[str, float], error: RaisedError
    ) -> DeadLetter:
        """Suspend an indicator of one symbol and remove what it wrote at this record. Return the dead letter."""
        spec, indicator = self.specs[index], state.indicators[index]
        state.suspend(index)
        for suffix in indicator.value_suffixes:
            values.pop(f"{spec}{suffix}", None)
        return suspension_letter("features", "indicator", spec, record, error)

    def snapshot(self) -> Any:
        """Return the state: version, specs, {symbol: (number of rows, indicator states, last close, first row of
        the company)}, reference data, adjusted prices, retired symbols and histories.

        The state of a suspended indicator is None.
        """
        return (
            VERSION,
            self.specs,
            {
                symbol: (
                    state.seq,
                    tuple(
                        [
                            None if index in state.suspended else indicator.snapshot()
                            for index, indicator in enumerate(state.indicators)
                        ]
                    ),
                    state.close,
                    state.first_seq,
                )
                for symbol, state in self._symbols.items()
            },
            self._reference.snapshot(),
            self._adjusted_prices.snapshot(),
            list(self._retired),
            {symbol: tuple(history) for symbol, history in self._history.items()},
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. A spec that it lacks starts warming up; one that is no longer configured is dropped.

        Versions 1 to 5 contain no histories, versions 1 to 4 no first rows, versions 1 to 3 no closes, adjusted prices
        and retired symbols, version 1 no reference data.
        """
        version, specs, symbols, *later = snapshot
        assert version in (1, 2, 3, 4, 5, VERSION), f"features snapshot: version {version}, expected 1 to {VERSION}"
        if later:
            self._reference.restore(later[0])
        if version >= 4:
            self._adjusted_prices.restore(later[1])
            self._retired = dict.fromkeys(later[2])
        self._history = {}
        if version == VERSION:
            self._history = {symbol: SymbolHistory(*values) for symbol, values in later[3].items()}
        self._symbols = {}
        for symbol, (seq, states, *later_fields) in symbols.items():
            state_of_spec = dict(zip(specs, states, strict=True))
            features = self._symbols[symbol] = self._new_symbol(seq, *later_fields)
            for index, (spec, indicator) in enumerate(zip(self.specs, features.indicators, strict=True)):
                if spec in state_of_spec and state_of_spec[spec] is None:
                    features.suspend(index)
                elif spec in state_of_spec:
                    indicator.restore(state_of_spec[spec])
