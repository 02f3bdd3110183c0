"""The features stage: compute the indicators, with one feature row per bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from operators.indicators import Indicator, build
from operators.reference_data import ReferenceData
from schemas.records import SPLIT, STOCK_DIVIDEND, Bar, CorporateAction, FeatureRow, Record

VERSION = 2


class SymbolFeatures:
    """One symbol's indicators and the number of rows written for it."""

    __slots__ = ("indicators", "seq", "updates")

    def __init__(self, indicators: list[Indicator], seq: int) -> None:
        self.indicators = indicators
        self.seq = seq
        self.updates: list[Callable[[Bar, dict[str, float]], None]] = [indicator.update for indicator in indicators]


class FeatureStage:
    """The logic of the features service of one shard. Publishes one FeatureRow per Bar, in the order of the bars.

    A bar without a trade counts like any other and repeats the last close, so a moving average over 20 one-minute bars
    covers 20 minutes. After a split or stock dividend, a symbol's indicators warm up again. `specs` define the
    indicators (`operators.indicators.build`). Raises BadInput for an invalid spec.
    """

    def __init__(self, specs: Sequence[str]) -> None:
        self.specs = tuple(dict.fromkeys(specs))
        for spec in self.specs:
            build(spec)  # reject an invalid spec at the start instead of at the first bar
        self._symbols: dict[str, SymbolFeatures] = {}
        self._reference = ReferenceData(by_symbol=True)

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        symbols = self._symbols
        rows: list[Record] = []
        for action in self._reference.take_due(records):
            if (
                isinstance(action, CorporateAction)
                and action.kind in (SPLIT, STOCK_DIVIDEND)
                and action.symbol in symbols
            ):
                # Prices before and after the action are not comparable: the indicators warm up again.
                indicators = [build(spec) for spec in self.specs]
                symbols[action.symbol] = SymbolFeatures(indicators, symbols[action.symbol].seq)
        # tuple.__new__ skips the Python-level constructor of NamedTuple, which is significant at one row per bar.
        construct = tuple.__new__
        for bar in records:
            if type(bar) is not Bar:
                continue
            symbol = bar.symbol
            state = symbols.get(symbol)
            if state is None:
                state = symbols[symbol] = SymbolFeatures([build(spec) for spec in self.specs], 0)
            values: dict[str, float] = {}
            for update in state.updates:
                update(bar, values)
            state.seq = seq = state.seq + 1
            rows.append(construct(FeatureRow, (symbol, seq, bar.ts_ns, bar.seq, bar.close, values)))
        return rows

    def snapshot(self) -> Any:
        """Return the state as (version, specs, {symbol: (number of rows, indicator states)}, reference data)."""
        return (
            VERSION,
            self.specs,
            {
                symbol: (state.seq, tuple([indicator.snapshot() for indicator in state.indicators]))
                for symbol, state in self._symbols.items()
            },
            self._reference.snapshot(),
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. A spec that it lacks starts warming up; one that is no longer configured is dropped."""
        version, specs, symbols, *reference = snapshot
        assert version in (1, VERSION), f"features snapshot: version {version}, expected 1 or {VERSION}"
        for reference_state in reference:
            self._reference.restore(reference_state)
        self._symbols = {}
        for symbol, (seq, states) in symbols.items():
            state_of_spec = dict(zip(specs, states, strict=True))
            indicators = [build(spec) for spec in self.specs]
            for spec, indicator in zip(self.specs, indicators, strict=True):
                if spec in state_of_spec:
                    indicator.restore(state_of_spec[spec])
            self._symbols[symbol] = SymbolFeatures(indicators, seq)
