"""From what was decided to how it turned out: outcomes, weights, P&L by strategy, the models' scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.feedback.attribution import AttributionBook
from operators.feedback.outcomes import ModelScores, SignalOutcomes
from operators.feedback.settings import FeedbackSettings
from operators.feedback.weights import Weighing
from schemas.records import (
    SPLIT,
    STOCK_DIVIDEND,
    SYMBOL_CHANGE,
    Bar,
    CashFlow,
    CorporateAction,
    Execution,
    OrderProposal,
    Position,
    Prediction,
    Record,
    Signal,
    Valuation,
)

VERSION = 2
ACTIONS_KEPT = 1_000
"""How many corporate actions are remembered: those that wait for their day, and those done, against repeats."""
_SECOND_NS = 1_000_000_000
_CHANGING = (SPLIT, STOCK_DIVIDEND, SYMBOL_CHANGE)


class FeedbackStage:
    """Takes reference data, bars, predictions, signals, executions, the books and proposals, in this order within a
    tick. Gives the SignalOutcomes that fell due, then what its intervals ask for: ModelScores, Attribution rows of the
    tick's Valuation, StrategyWeights.

    `strategies` are those that are weighed, `multipliers` the value of a unit at a price of 1 where it is not 1.
    """

    def __init__(
        self,
        settings: FeedbackSettings | None = None,
        strategies: Sequence[str] = (),
        multipliers: Mapping[str, Decimal] | None = None,
    ) -> None:
        self.settings = settings or FeedbackSettings()
        self._outcomes = SignalOutcomes(self.settings.horizon_bars)
        self._models = ModelScores()
        self._weighing = Weighing(strategies, self.settings)
        self._book = AttributionBook(multipliers)
        self._bars: dict[str, int] = {}  # symbol -> seq of its last bar
        self._closes: dict[str, float] = {}
        self._actions: dict[str, CorporateAction | None] = {}  # by id; None: done
        self._waiting = False
        self._asked_day = 0  # for which day those that wait were looked through
        self._seq = 0  # of the topic attribution
        self._stood: dict[str, int] = {}  # what is written at intervals -> the number of the last one

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        bars, closes = self._bars, self._closes
        outcomes, models, book = self._outcomes, self._models, self._book
        valuation: Valuation | None = None
        for record in records:
            kind = type(record)
            if kind is Bar:
                bar: Any = record
                symbol, seq, close = bar.symbol, bar.seq, bar.close
                if self._waiting and bar.trading_day != self._asked_day:
                    self._take_effect(bar.trading_day)
                bars[symbol] = seq
                closes[symbol] = close
                if symbol in outcomes.open:
                    judged = outcomes.judge(ts_ns, symbol, seq, close, self._seq + 1)
                    self._seq += len(judged)
                    out.extend(judged)
                if symbol in models.open:
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
            elif kind is CorporateAction:
                self._hear(record)  # type: ignore[arg-type]
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

    # -- corporate actions ---------------------------------------------------------------------------------------------

    def _hear(self, action: CorporateAction) -> None:
        if action.kind not in _CHANGING or action.action_id in self._actions:
            return
        self._actions[action.action_id] = action
        self._waiting = True
        self._asked_day = 0
        if len(self._actions) > ACTIONS_KEPT:
            del self._actions[next(iter(self._actions))]
        if not action.ex_date:
            self._take_effect(0)

    def _take_effect(self, day: int) -> None:
        """What is due on this trading day: ahead of the day's first bar, and of the ledger's records on it."""
        self._asked_day = day
        due = [one for one in self._actions.values() if one is not None and one.ex_date <= day]
        for action in due:
            self._actions[action.action_id] = None
            if action.kind == SYMBOL_CHANGE:
                for part in (self._outcomes, self._models, self._book):
                    part.rename(action.symbol, action.new_symbol)
            else:
                ratio = float(action.ratio or 0) + (action.kind == STOCK_DIVIDEND)
                if ratio > 0:
                    self._outcomes.split(action.symbol, ratio)
                    self._models.split(action.symbol, ratio)
        self._waiting = any(one is not None for one in self._actions.values())

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        actions = [(name, None if one is None else tuple(one)) for name, one in self._actions.items()]
        parts = (self._outcomes, self._models, self._weighing, self._book)
        stood = (self._seq, dict(self._stood))
        return (VERSION, dict(self._bars), dict(self._closes), actions, stood, [part.snapshot() for part in parts])

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
        bars, closes, actions, (self._seq, stood), parts = rest
        self._bars, self._closes, self._stood = dict(bars), dict(closes), dict(stood)
        self._actions = {name: None if one is None else CorporateAction._make(one) for name, one in actions}
        self._waiting = any(one is not None for one in self._actions.values())
        for part, state in zip((self._outcomes, self._models, self._weighing, self._book), parts, strict=True):
            part.restore(state)  # type: ignore[attr-defined]
