"""Evaluate signals and predictions at the end of their horizon."""

from __future__ import annotations

from collections import deque
from typing import Any

from operators.feedback.market_move import MarketMove
from operators.feedback.trading_costs import TradingCosts
from schemas.records import ModelScore, Prediction, Signal, SignalOutcome, signal_id
from schemas.records.flat import from_stored


class SignalOutcomes:
    """Evaluate each signal with a direction `horizon_bars` bars after it, with its costs and the market's move.

    The state contains the open signals. It is bounded by horizon times strategies times symbols.
    """

    def __init__(self, horizon_bars: int, market: MarketMove, costs: TradingCosts) -> None:
        self._horizon, self._market, self._costs = horizon_bars, market, costs
        # symbol -> (seq of the bar at which it is due, entry price adjusted for splits, signal, level of the market)
        self.pending: dict[str, deque[tuple[int, float, Signal, float]]] = {}

    def add(self, signal: Signal, bar_seq: int) -> None:
        symbol = signal.symbol
        entry = (bar_seq + self._horizon, signal.price, signal, self._market.level(symbol))
        self.pending.setdefault(symbol, deque()).append(entry)

    def evaluate(self, ts_ns: int, symbol: str, bar_seq: int, close: float, seq: int) -> list[SignalOutcome]:
        """Return the outcomes that are due at this bar, with `seq` numbers starting at `seq`."""
        pending_entries = self.pending.get(symbol)
        out: list[SignalOutcome] = []
        while pending_entries and pending_entries[0][0] <= bar_seq:
            _, entry, signal, market_level = pending_entries.popleft()
            out.append(
                SignalOutcome(
                    seq=seq + len(out),
                    ts_ns=ts_ns,
                    signal_id=signal_id(signal.symbol, signal.seq),
                    symbol=symbol,
                    strategy=signal.strategy,
                    direction=signal.direction,
                    confidence=signal.confidence,
                    horizon_bars=self._horizon,
                    entry_price=entry,
                    exit_price=close,
                    gained=signal.direction * (close - entry) / entry,
                    cost=self._costs.round_trip(symbol),
                    market_return=self._market.move_since(symbol, market_level),
                )
            )
        return out

    def split(self, symbol: str, ratio: float) -> None:
        """Adjust the entry prices for a split into `ratio` new shares per old share."""
        pending_entries = self.pending.get(symbol)
        if pending_entries:
            self.pending[symbol] = deque(
                (due_bar, entry / ratio, signal, level) for due_bar, entry, signal, level in pending_entries
            )

    def rename(self, old: str, new: str) -> None:
        """Move the open signals to the new symbol. They are due at its bars with the same `seq`."""
        # The move so far is that of the market as seen from the old symbol.
        shift = self._market.level(new) - self._market.level(old)
        for due_bar, entry, signal, level in self.pending.pop(old, ()):
            self.pending.setdefault(new, deque()).append((due_bar, entry, signal, level + shift))

    def snapshot(self) -> Any:
        return {
            symbol: [(due_bar, entry, tuple(signal), level) for due_bar, entry, signal, level in entries]
            for symbol, entries in self.pending.items()
            if entries
        }

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Earlier ones contain no levels of the market, whose move then counts from now on."""
        self.pending = {
            symbol: deque(
                (due_bar, entry, from_stored(Signal, values), *(level or (0.0,)))
                for due_bar, entry, values, *level in entries
            )
            for symbol, entries in snapshot.items()
        }


class ModelRecord:
    """Statistics of one model.

    count              forecasts evaluated
    price_moves        evaluated forecasts after which the price changed
    hits               forecasts with the right sign among `price_moves`
    squared_error_sum  sum of the squared errors of the probabilities
    drift              highest drift since the last score
    """

    __slots__ = ("count", "drift", "hits", "model", "price_moves", "squared_error_sum")

    def __init__(
        self,
        model: str,
        count: int = 0,
        price_moves: int = 0,
        hits: int = 0,
        squared_error_sum: float = 0.0,
        drift: float = 0.0,
    ) -> None:
        self.model = model
        self.count = count
        self.price_moves = price_moves
        self.hits = hits
        self.squared_error_sum = squared_error_sum
        self.drift = drift

    def as_tuple(self) -> tuple[Any, ...]:
        return (self.model, self.count, self.price_moves, self.hits, self.squared_error_sum, self.drift)


class ModelScores:
    """Evaluate each prediction at its own horizon, and score the models.

    `drift` of a score is the highest drift of all symbols since the previous score.
    """

    def __init__(self) -> None:
        # symbol -> (seq of the bar at which it is due, close, hash, expected return, probability), oldest first
        self.pending: dict[str, deque[tuple[int, float, str, float, float]]] = {}
        self._models: dict[str, ModelRecord] = {}
        self._updated: dict[str, None] = {}

    def add(self, forecast: Prediction, bar_seq: int, close: float) -> None:
        record = self._models.get(forecast.model_hash)
        if record is None:
            record = self._models[forecast.model_hash] = ModelRecord(forecast.model)
        record.drift = max(record.drift, forecast.drift)
        due_entry = (bar_seq + forecast.horizon_bars, close, forecast.model_hash)
        forecast_values = (forecast.expected_return, forecast.probability_up)
        self.pending.setdefault(forecast.symbol, deque()).append((*due_entry, *forecast_values))

    def evaluate(self, symbol: str, bar_seq: int, close: float) -> None:
        pending_entries = self.pending.get(symbol)
        while pending_entries and pending_entries[0][0] <= bar_seq:
            _, entry, model_hash, expected_return, probability_up = pending_entries.popleft()
            record = self._models[model_hash]
            record.count += 1
            if close != entry:
                record.price_moves += 1
                record.hits += (expected_return > 0) is (close > entry)
            record.squared_error_sum += (probability_up - (close > entry)) ** 2
            self._updated[model_hash] = None

    def split(self, symbol: str, ratio: float) -> None:
        pending_entries = self.pending.get(symbol)
        if pending_entries:
            self.pending[symbol] = deque(
                (due_bar, entry / ratio, model_hash, expected_return, probability_up)
                for due_bar, entry, model_hash, expected_return, probability_up in pending_entries
            )

    def rename(self, old: str, new: str) -> None:
        for pending_entry in self.pending.pop(old, ()):
            self.pending.setdefault(new, deque()).append(pending_entry)

    def scores(self, ts_ns: int, seq: int) -> list[ModelScore]:
        """Return scores of the models with predictions evaluated since the last call; `seq` numbers start at `seq`."""
        out: list[ModelScore] = []
        for model_hash in self._updated:
            record = self._models[model_hash]
            hit_rate = record.hits / record.price_moves if record.price_moves else 0.5
            brier = record.squared_error_sum / record.count
            out.append(
                ModelScore(
                    seq=seq + len(out),
                    ts_ns=ts_ns,
                    model=record.model,
                    model_hash=model_hash,
                    predictions=record.count,
                    hit_rate=hit_rate,
                    brier=brier,
                    drift=record.drift,
                )
            )
            record.drift = 0.0
        self._updated = {}
        return out

    def snapshot(self) -> Any:
        pending_entries = {symbol: list(entries) for symbol, entries in self.pending.items() if entries}
        models = {model_hash: record.as_tuple() for model_hash, record in self._models.items()}
        return (pending_entries, models, list(self._updated))

    def restore(self, snapshot: Any) -> None:
        pending_entries, models, updated = snapshot
        self.pending = {symbol: deque(entries) for symbol, entries in pending_entries.items()}
        self._models = {model_hash: ModelRecord(*values) for model_hash, values in models.items()}
        self._updated = dict.fromkeys(updated)
