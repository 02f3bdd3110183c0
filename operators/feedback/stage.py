"""From what was decided to how it turned out: outcomes, weights, P&L by strategy, the models' scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.feedback.attribution import AttributionBook
from operators.feedback.outcomes import ModelScores, SignalOutcomes
from operators.feedback.settings import FeedbackSettings
from operators.feedback.weights import Weighing
from operators.instruments import Instrument
from operators.ledger.events import ratio_of
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
    """Takes reference data, bars, predictions, signals, executions, the books and proposals, in this order within a
    tick. Gives the SignalOutcomes that fell due, then what its intervals ask for: ModelScores, Attribution rows of the
    tick's Valuation, StrategyWeights.

    `strategies` are those that are weighed, `instruments` are those listed, `currency` is the account's.
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
        self._weighing = Weighing(strategies, self.settings)
        self._book = AttributionBook(instruments, currency)
        self._bars: dict[str, int] = {}  # symbol -> seq of its last bar
        self._closes: dict[str, float] = {}
        self._reference = ReferenceData(currency=currency)
        self._seq = 0  # of the topic attribution
        self._stood: dict[str, int] = {}  # what is written at intervals -> the number of the last one

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        bars, closes = self._bars, self._closes
        outcomes, models, book = self._outcomes, self._models, self._book
        valuation: Valuation | None = None
        self._take_effect(self._reference.due(records))
        open_signals, open_forecasts = outcomes.open, models.open
        for record in records:
            kind = type(record)
            if kind is Bar:
                bar: Any = record
                symbol, seq, close = bar.symbol, bar.seq, bar.close
                bars[symbol] = seq
                closes[symbol] = close
                # The first that is open is the first that falls due: nearly every bar stops here.
                if (waiting := open_signals.get(symbol)) and waiting[0][0] <= seq:
                    judged = outcomes.judge(ts_ns, symbol, seq, close, self._seq + 1)
                    self._seq += len(judged)
                    out.extend(judged)
                if (forecasts := open_forecasts.get(symbol)) and forecasts[0][0] <= seq:
                    models.judge(symbol, seq, close)
            elif kind is Valuation:
                valuation = record  # type: ignore[assignment]
            elif kind is Position:
                book.moved(record)  # type: ignore[arg-type]
            elif kind is Signal:
                self._see(record)  # type: ignore[arg-type]
            elif kind is Execution:
                book.report(record)  # type: ignore[arg-type]
            elif kind is OrderProposal:
                book.propose(record)  # type: ignore[arg-type]
            elif kind is Prediction:
                forecast: Any = record
                models.add(forecast, bars.get(forecast.symbol, 0), closes.get(forecast.symbol, 0.0))
            elif kind is CashFlow:
                book.flowed(record)  # type: ignore[arg-type]
        for outcome in out:
            self._weighing.learn(outcome)  # type: ignore[arg-type]
        self._write(ts_ns, valuation, out)
        return out

    def _see(self, signal: Signal) -> None:
        self._book.see(signal)
        if signal.direction:
            self._outcomes.add(signal, self._bars.get(signal.symbol, 0))

    def _write(self, ts_ns: int, valuation: Valuation | None, out: list[Record]) -> None:
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
            weights = self._weighing.weights(ts_ns)
            if weights is not None:
                out.append(weights)

    def _is_due(self, what: str, ts_ns: int, interval_s: int) -> bool:
        """At the first tick at or behind each boundary of the interval."""
        if not interval_s:
            return False
        number = ts_ns // (interval_s * _SECOND_NS)
        if self._stood.get(what) == number:
            return False
        self._stood[what] = number
        return True

    def _take_effect(self, due: Sequence[CorporateAction | ExchangeRate]) -> None:
        """Ahead of the tick's bars, and of the ledger's records on it."""
        for one in due:
            if isinstance(one, ExchangeRate):
                self._book.set_rate(one.base, self._reference.rate_of(one.base))
            elif one.kind == SYMBOL_CHANGE:
                for part in (self._outcomes, self._models, self._book):
                    part.rename(one.symbol, one.new_symbol)
                if one.symbol in self._closes:
                    self._closes.setdefault(one.new_symbol, self._closes[one.symbol])
            else:
                ratio = ratio_of(one)
                if ratio != 1:
                    self._outcomes.split(one.symbol, float(ratio))
                    self._models.split(one.symbol, float(ratio))
                    if one.symbol in self._closes:
                        # As the portfolio marks it until the next bar.
                        self._closes[one.symbol] = float(divide(to_decimal(self._closes[one.symbol]), ratio))

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        parts = (self._outcomes, self._models, self._weighing, self._book)
        stood = (self._seq, dict(self._stood))
        return (
            VERSION,
            dict(self._bars),
            dict(self._closes),
            self._reference.snapshot(),
            stood,
            [part.snapshot() for part in parts],
        )

    def restore(self, snapshot: Any) -> None:
        """Version 1 knew outcomes only: its attribution begins with the books as they stand."""
        version, *rest = snapshot
        assert version in (1, VERSION), f"feedback state of version {version}, expected {VERSION}"
        if version == 1:
            self._seq, bars, waiting = rest
            self._bars = dict(bars)
            price = Signal._fields.index("price")
            self._outcomes.restore({s: [(due, one[price], one) for due, one in held] for s, held in waiting.items()})
            return
        bars, closes, reference, (self._seq, stood), parts = rest
        self._bars, self._closes, self._stood = dict(bars), dict(closes), dict(stood)
        self._reference.restore(reference)
        for part, state in zip((self._outcomes, self._models, self._weighing, self._book), parts, strict=True):
            part.restore(state)  # type: ignore[attr-defined]
