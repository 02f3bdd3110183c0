"""The feedback stage: signal outcomes, strategy weights, P&L by strategy and model scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.feedback.attribution import AttributionBook
from operators.feedback.outcomes import ModelScores, SignalOutcomes
from operators.feedback.settings import FeedbackSettings
from operators.feedback.weights import StrategyWeighting
from operators.instruments import Instrument
from operators.ledger.events import share_ratio
from operators.money import divide, to_decimal
from operators.reference_data import ReferenceData
from schemas.records import (
    SYMBOL_CHANGE,
    Bar,
    CashFlow,
    CorporateAction,
    ExchangeRate,
    Execution,
    OrderProposal,
    Position,
    Prediction,
    Record,
    Signal,
    Valuation,
)

VERSION = 2
_SECOND_NS = 1_000_000_000


class FeedbackStage:
    """The logic of the feedback service.

    Inputs, in this order within a time slice: reference data, bars, predictions, signals, executions, the ledger's
    records and proposals. Outputs: the due SignalOutcomes, then, at their intervals, ModelScores, Attribution rows of
    the time slice's Valuation, and StrategyWeights.

    `strategies` are the strategies to weight, `instruments` the listed instruments, `currency` the account currency.
    """

    def __init__(
        self,
        settings: FeedbackSettings | None = None,
        strategies: Sequence[str] = (),
        instruments: Sequence[Instrument] = (),
        currency: str = "USD",
    ) -> None:
        self.settings = settings or FeedbackSettings()
        self._outcomes = SignalOutcomes(self.settings.horizon_bars)
        self._models = ModelScores()
        self._weighting = StrategyWeighting(strategies, self.settings)
        self._book = AttributionBook(instruments, currency)
        self._bars: dict[str, int] = {}  # symbol -> seq of its last bar
        self._closes: dict[str, float] = {}
        self._reference = ReferenceData(currency=currency)
        self._seq = 0  # of the topic attribution
        self._last_intervals: dict[str, int] = {}  # output -> number of the interval in which it was last published

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        bars, closes = self._bars, self._closes
        outcomes, models, book = self._outcomes, self._models, self._book
        valuation: Valuation | None = None
        self._apply_reference_data(self._reference.take_due(records))
        pending_signals, pending_forecasts = outcomes.pending, models.pending
        for record in records:
            kind = type(record)
            if kind is Bar:
                bar: Any = record
                symbol, seq, close = bar.symbol, bar.seq, bar.close
                bars[symbol] = seq
                closes[symbol] = close
                # The oldest open signal is due first, so that nearly every bar skips the evaluation.
                if (pending := pending_signals.get(symbol)) and pending[0][0] <= seq:
                    evaluated = outcomes.evaluate(ts_ns, symbol, seq, close, self._seq + 1)
                    self._seq += len(evaluated)
                    out.extend(evaluated)
                if (forecasts := pending_forecasts.get(symbol)) and forecasts[0][0] <= seq:
                    models.evaluate(symbol, seq, close)
            elif kind is Valuation:
                valuation = record  # type: ignore[assignment]
            elif kind is Position:
                book.record_position(record)  # type: ignore[arg-type]
            elif kind is Signal:
                self._record_signal(record)  # type: ignore[arg-type]
            elif kind is Execution:
                book.record_execution(record)  # type: ignore[arg-type]
            elif kind is OrderProposal:
                book.record_proposal(record)  # type: ignore[arg-type]
            elif kind is Prediction:
                forecast: Any = record
                models.add(forecast, bars.get(forecast.symbol, 0), closes.get(forecast.symbol, 0.0))
            elif kind is CashFlow:
                book.record_cash_flow(record)  # type: ignore[arg-type]
        for outcome in out:
            self._weighting.learn(outcome)  # type: ignore[arg-type]
        self._write_periodic(ts_ns, valuation, out)
        return out

    def _record_signal(self, signal: Signal) -> None:
        self._book.record_signal(signal)
        if signal.direction:
            self._outcomes.add(signal, self._bars.get(signal.symbol, 0))

    def _write_periodic(self, ts_ns: int, valuation: Valuation | None, out: list[Record]) -> None:
        settings = self.settings
        if self._is_due("models", ts_ns, settings.models_interval_s):
            scores = self._models.scores(ts_ns, self._seq + 1)
            self._seq += len(scores)
            out.extend(scores)
        if valuation is not None and self._is_due("attribution", ts_ns, settings.attribution_interval_s):
            rows = self._book.rows(valuation, self._closes, self._seq + 1)
            self._seq += len(rows)
            out.extend(rows)
        if self._is_due("weights", ts_ns, settings.weights_interval_s):
            weights = self._weighting.weights(ts_ns)
            if weights is not None:
                out.append(weights)

    def _is_due(self, name: str, ts_ns: int, interval_s: int) -> bool:
        """Whether this is the first time slice at or after a boundary of the interval."""
        if not interval_s:
            return False
        interval_number = ts_ns // (interval_s * _SECOND_NS)
        if self._last_intervals.get(name) == interval_number:
            return False
        self._last_intervals[name] = interval_number
        return True

    def _apply_reference_data(self, due_records: Sequence[CorporateAction | ExchangeRate]) -> None:
        """Apply reference data, before the bars and the ledger's records of the time slice."""
        for record in due_records:
            if isinstance(record, ExchangeRate):
                self._book.set_rate(record.base, self._reference.rate_of(record.base))
            elif record.kind == SYMBOL_CHANGE:
                for component in (self._outcomes, self._models, self._book):
                    component.rename(record.symbol, record.new_symbol)
                if record.symbol in self._closes:
                    self._closes.setdefault(record.new_symbol, self._closes[record.symbol])
            else:
                ratio = share_ratio(record)
                if ratio != 1:
                    self._outcomes.split(record.symbol, float(ratio))
                    self._models.split(record.symbol, float(ratio))
                    if record.symbol in self._closes:
                        # The same price as in the portfolio until the next bar.
                        self._closes[record.symbol] = float(divide(to_decimal(self._closes[record.symbol]), ratio))

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        components = (self._outcomes, self._models, self._weighting, self._book)
        intervals = (self._seq, dict(self._last_intervals))
        return (
            VERSION,
            dict(self._bars),
            dict(self._closes),
            self._reference.snapshot(),
            intervals,
            [component.snapshot() for component in components],
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Version 1 contains only outcomes, so the attribution starts with the current books."""
        version, *rest = snapshot
        assert version in (1, VERSION), f"feedback snapshot: version {version}, expected 1 or {VERSION}"
        if version == 1:
            self._seq, bars, pending = rest
            self._bars = dict(bars)
            price = Signal._fields.index("price")
            self._outcomes.restore(
                {
                    s: [(due_bar, signal_values[price], signal_values) for due_bar, signal_values in entries]
                    for s, entries in pending.items()
                }
            )
            return
        bars, closes, reference, (self._seq, intervals), component_states = rest
        self._bars, self._closes, self._last_intervals = dict(bars), dict(closes), dict(intervals)
        self._reference.restore(reference)
        for component, state in zip(
            (self._outcomes, self._models, self._weighting, self._book), component_states, strict=True
        ):
            component.restore(state)  # type: ignore[attr-defined]
