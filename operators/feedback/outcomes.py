"""What became of signals and of predictions once their horizon had passed."""

from __future__ import annotations

from collections import deque
from typing import Any

from schemas.records import ModelScore, Prediction, Signal, SignalOutcome, signal_id


class SignalOutcomes:
    """Signals with a direction, each judged at the bar `horizon_bars` after it.

    Open signals are the only state: it is bounded by horizon times strategies times symbols.
    """

    def __init__(self, horizon_bars: int) -> None:
        self._horizon = horizon_bars
        # symbol -> (bar at which it is judged, price of the entry in today's shares, signal)
        self.open: dict[str, deque[tuple[int, float, Signal]]] = {}

    def add(self, signal: Signal, bar_seq: int) -> None:
        self.open.setdefault(signal.symbol, deque()).append((bar_seq + self._horizon, signal.price, signal))

    def judge(self, ts_ns: int, symbol: str, bar_seq: int, close: float, seq: int) -> list[SignalOutcome]:
        """Those that fall due at this bar, with seqs from `seq` on."""
        waiting = self.open.get(symbol)
        out: list[SignalOutcome] = []
        while waiting and waiting[0][0] <= bar_seq:
            _, entry, signal = waiting.popleft()
            out.append(
                SignalOutcome(
                    seq + len(out),
                    ts_ns,
                    signal_id(signal.symbol, signal.seq),
                    symbol,
                    signal.strategy,
                    signal.direction,
                    signal.confidence,
                    self._horizon,
                    entry,
                    close,
                    signal.direction * (close - entry) / entry,
                )
            )
        return out

    def split(self, symbol: str, ratio: float) -> None:
        """`ratio` new shares for one old: what was paid for one old is paid for so many."""
        waiting = self.open.get(symbol)
        if waiting:
            self.open[symbol] = deque((due, entry / ratio, signal) for due, entry, signal in waiting)

    def rename(self, old: str, new: str) -> None:
        """What is open under the old name; the new one's bars count from where they stand."""
        for due, entry, signal in self.open.pop(old, ()):
            self.open.setdefault(new, deque()).append((due, entry, signal))

    def snapshot(self) -> Any:
        return {s: [(due, entry, tuple(one)) for due, entry, one in held] for s, held in self.open.items() if held}

    def restore(self, snapshot: Any) -> None:
        self.open = {
            symbol: deque((due, entry, Signal._make(values)) for due, entry, values in held)
            for symbol, held in snapshot.items()
        }


class ModelRecord:
    """How one model did so far: forecasts judged, right signs of those that moved, squared errors; its last drift."""

    __slots__ = ("count", "drift", "errors", "hits", "model", "moved")

    def __init__(
        self, model: str, count: int = 0, moved: int = 0, hits: int = 0, errors: float = 0.0, drift: float = 0.0
    ) -> None:
        self.model = model
        self.count = count
        self.moved = moved
        self.hits = hits
        self.errors = errors
        self.drift = drift

    def as_tuple(self) -> tuple[Any, ...]:
        return (self.model, self.count, self.moved, self.hits, self.errors, self.drift)


class ModelScores:
    """Predictions, each judged at its own horizon; a score for each model whose predictions came due.

    `drift` of a score is the highest of the symbols' since the score before.
    """

    def __init__(self) -> None:
        # symbol -> (bar at which it is judged, close, hash, expected return, probability), oldest first
        self.open: dict[str, deque[tuple[int, float, str, float, float]]] = {}
        self._models: dict[str, ModelRecord] = {}
        self._changed: dict[str, None] = {}

    def add(self, forecast: Prediction, bar_seq: int, close: float) -> None:
        record = self._models.get(forecast.model_hash)
        if record is None:
            record = self._models[forecast.model_hash] = ModelRecord(forecast.model)
        record.drift = max(record.drift, forecast.drift)
        one = (bar_seq + forecast.horizon_bars, close, forecast.model_hash)
        said = (forecast.expected_return, forecast.probability_up)
        self.open.setdefault(forecast.symbol, deque()).append((*one, *said))

    def judge(self, symbol: str, bar_seq: int, close: float) -> None:
        waiting = self.open.get(symbol)
        while waiting and waiting[0][0] <= bar_seq:
            _, entry, sha256, gain, up = waiting.popleft()
            record = self._models[sha256]
            record.count += 1
            if close != entry:
                record.moved += 1
                record.hits += (gain > 0) is (close > entry)
            record.errors += (up - (close > entry)) ** 2
            self._changed[sha256] = None

    def split(self, symbol: str, ratio: float) -> None:
        waiting = self.open.get(symbol)
        if waiting:
            self.open[symbol] = deque((due, entry / ratio, *rest) for due, entry, *rest in waiting)  # type: ignore[misc]

    def rename(self, old: str, new: str) -> None:
        for one in self.open.pop(old, ()):
            self.open.setdefault(new, deque()).append(one)

    def scores(self, ts_ns: int, seq: int) -> list[ModelScore]:
        """Of the models whose predictions came due since the last time, with seqs from `seq` on."""
        out: list[ModelScore] = []
        for sha256 in self._changed:
            record = self._models[sha256]
            hit_rate = record.hits / record.moved if record.moved else 0.5
            brier = record.errors / record.count
            out.append(
                ModelScore(seq + len(out), ts_ns, record.model, sha256, record.count, hit_rate, brier, record.drift)
            )
            record.drift = 0.0
        self._changed = {}
        return out

    def snapshot(self) -> Any:
        waiting = {symbol: list(held) for symbol, held in self.open.items() if held}
        models = {sha256: record.as_tuple() for sha256, record in self._models.items()}
        return (waiting, models, list(self._changed))

    def restore(self, snapshot: Any) -> None:
        waiting, models, changed = snapshot
        self.open = {symbol: deque(held) for symbol, held in waiting.items()}
        self._models = {sha256: ModelRecord(*values) for sha256, values in models.items()}
        self._changed = dict.fromkeys(changed)
