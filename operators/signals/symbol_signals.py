"""The state of one symbol in the signals stage, and the signals that follow from its views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from operators.signals.ensemble import LastView
from operators.strategies import TargetView
from schemas.errors import BadInput
from schemas.records import Signal, feature_id

NO_VIEW = LastView()
UNKNOWN_VIEW = LastView(strength=-1.0)
"""The view after a warm-up. The strategy may hold the share under an earlier symbol, so its next view is published."""


class SymbolSignals:
    """The state of one symbol: number of signals, last feature row, each strategy's state and view, ensemble view.

    `first_seq` is the first row of the company that trades under the symbol.
    """

    __slots__ = ("close", "ensemble", "first_seq", "last_views", "row_ns", "row_seq", "seq", "states")

    def __init__(self, count: int) -> None:
        self.seq = 0
        self.close = 0.0
        self.row_seq = 0
        self.row_ns = 0
        self.begin(1, count)

    def begin(self, first_seq: int, count: int) -> None:
        """Begin without states and views, at the first row of a company. Signal numbers continue."""
        self.first_seq = first_seq
        self.states: list[Any] = [None] * count
        self.last_views = [NO_VIEW] * count
        self.ensemble = NO_VIEW

    def forget_views(self) -> None:
        """Publish the next view of each strategy and of the ensemble, whatever it is."""
        self.last_views = [UNKNOWN_VIEW] * len(self.last_views)
        self.ensemble = UNKNOWN_VIEW

    def signal(
        self,
        symbol: str,
        ts_ns: int,
        name: str,
        index: int,
        view: TargetView,
        causes: Sequence[str],
        source_sha256: list[str],
    ) -> Signal:
        """Return the signal of the strategy `name`, number `index`, and store its view. Raises BadInput if invalid."""
        direction, strength, confidence = view.direction, view.strength, view.confidence
        if direction not in (-1, 0, 1) or not (0.0 <= strength <= 1.0 and 0.0 <= confidence <= 1.0):
            raise BadInput(
                f"strategy {name} on {symbol}: direction must be -1, 0 or 1, strength and confidence in [0, 1], "
                f"found {direction}, {strength} and {confidence}"
            )
        # Plain values only: a type that cannot be encoded must fail here and not in the sink.
        direction, strength, confidence = int(direction), float(strength), float(confidence)
        parts = {str(part): float(value) for part, value in view.parts.items()}
        for part, value in parts.items():
            if not isfinite(value):
                raise BadInput(f"strategy {name} on {symbol}: parts must be finite numbers, found {part} = {value}")
        cause_ids = [str(cause) for cause in causes]
        self.seq += 1
        self.last_views[index] = LastView(direction, strength, confidence, self.seq)
        return Signal(
            symbol=symbol,
            seq=self.seq,
            ts_ns=ts_ns,
            strategy=name,
            direction=direction,
            strength=strength,
            confidence=confidence,
            price=self.close,
            feature_id=feature_id(symbol, self.row_seq),
            parts=parts,
            cause_ids=cause_ids,
            source_sha256=source_sha256,
        )

    def snapshot(self, names: Sequence[str]) -> tuple[Any, ...]:
        """Return (number of signals, last close, seq of the last row, {strategy: (state, *view)}, ensemble view, first
        row of the company, time of the last row).
        """
        states = zip(names, self.states, self.last_views, strict=True)
        by_strategy = {name: (state, *last_view) for name, state, last_view in states}
        ensemble = tuple(self.ensemble)
        return self.seq, self.close, self.row_seq, by_strategy, ensemble, self.first_seq, self.row_ns

    def restore(self, names: Sequence[str], snapshot: Sequence[Any]) -> None:
        """Restore a snapshot. A strategy that it lacks starts without state; one that no longer runs is dropped.

        Snapshots before version 4 of the stage contain no first row of a company and no time of the last row.
        """
        strategies: Mapping[str, Any]
        self.seq, self.close, self.row_seq, strategies, ensemble, *company = snapshot
        saved = [strategies.get(name, (None, *NO_VIEW)) for name in names]
        self.states = [entry[0] for entry in saved]
        self.last_views = [LastView(*entry[1:]) for entry in saved]
        self.ensemble = LastView(*ensemble)
        if company:
            self.first_seq, self.row_ns = company
