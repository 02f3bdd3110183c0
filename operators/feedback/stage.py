"""Signals and bars in, the outcome of each signal out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from operators.feedback.settings import FeedbackSettings
from schemas.records import Bar, Record, Signal, SignalOutcome, signal_id

VERSION = 1


class FeedbackStage:
    """Gives a SignalOutcome for each Signal with a direction, at the bar `horizon_bars` after it.

    Open signals are the only state: it is bounded by horizon times strategies times symbols.
    """

    def __init__(self, settings: FeedbackSettings | None = None) -> None:
        self._settings = settings or FeedbackSettings()
        self._bars: dict[str, int] = {}  # symbol -> seq of its last bar
        self._open: dict[str, deque[tuple[int, Signal]]] = {}  # symbol -> (bar at which it is judged, signal)
        self._seq = 0

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        for record in records:
            if type(record) is Bar:
                self._bars[record.symbol] = record.seq
                waiting = self._open.get(record.symbol)
                while waiting and waiting[0][0] <= record.seq:
                    out.append(self._outcome(ts_ns, waiting.popleft()[1], record.close))
            elif type(record) is Signal and record.direction:
                due = self._bars.get(record.symbol, 0) + self._settings.horizon_bars
                self._open.setdefault(record.symbol, deque()).append((due, record))
        return out

    def _outcome(self, ts_ns: int, signal: Signal, close: float) -> SignalOutcome:
        self._seq += 1
        return SignalOutcome(
            self._seq,
            ts_ns,
            signal_id(signal.symbol, signal.seq),
            signal.symbol,
            signal.strategy,
            signal.direction,
            signal.confidence,
            self._settings.horizon_bars,
            signal.price,
            close,
            signal.direction * (close - signal.price) / signal.price,
        )

    def snapshot(self) -> Any:
        waiting = {symbol: [(due, tuple(one)) for due, one in held] for symbol, held in self._open.items() if held}
        return (VERSION, self._seq, dict(self._bars), waiting)

    def restore(self, snapshot: Any) -> None:
        version, self._seq, bars, waiting = snapshot
        assert version == VERSION, f"feedback state of version {version}, expected {VERSION}"
        self._bars = dict(bars)
        self._open = {
            symbol: deque((due, Signal._make(values)) for due, values in held) for symbol, held in waiting.items()
        }
