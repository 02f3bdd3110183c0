"""The signals of the ensemble: the combined view of a symbol, if it has changed."""

from __future__ import annotations

from collections.abc import Sequence

from operators.signals.ensemble import ENSEMBLE, EnsembleSettings, EnsembleView, LastView, combine_views
from operators.signals.symbol_signals import SymbolSignals
from schemas.records import Signal, feature_id, signal_id, weights_id

_NO_VIEW = EnsembleView(0, 0.0, 0.0, {})


class EnsembleSignals:
    """Combines the views of the strategies `names`. `source_sha256` are the hashes of their files, in this order."""

    def __init__(
        self, settings: EnsembleSettings, names: Sequence[str], source_sha256: Sequence[Sequence[str]]
    ) -> None:
        self._settings, self._names, self._source_sha256 = settings, names, source_sha256

    def combine(
        self, symbol: str, ts_ns: int, state: SymbolSignals, weights: Sequence[float], weights_seq: int, *, closes: bool
    ) -> Signal | None:
        """Return the signal of a changed combined view, and store the view; None if it has not changed.

        Without any view, the last combined view stays, or ends if a removed strategy `closes` its view.
        """
        combined = combine_views(self._names, weights, state.last_views, self._settings.threshold)
        previous = state.ensemble
        if combined is None and closes and previous.direction:
            combined = _NO_VIEW
        if combined is None:
            return None
        strength = combined.strength
        if combined.direction == previous.direction and abs(strength - previous.strength) < max(
            self._settings.change_min, 1e-12
        ):
            return None
        state.seq += 1
        state.ensemble = LastView(combined.direction, strength, combined.confidence, state.seq)
        causes = [signal_id(symbol, last_view.seq) for last_view in state.last_views if last_view.seq]
        if weights_seq:
            causes.append(weights_id(weights_seq))
        return Signal(
            symbol=symbol,
            seq=state.seq,
            ts_ns=ts_ns,
            strategy=ENSEMBLE,
            direction=combined.direction,
            strength=strength,
            confidence=combined.confidence,
            price=state.close,
            feature_id=feature_id(symbol, state.row_seq),
            parts=combined.contributions,
            cause_ids=causes,
            source_sha256=self._sources_of(state.last_views),
        )

    def _sources_of(self, views: Sequence[LastView]) -> list[str]:
        """Return the hashes of the files of all strategies that have a view."""
        by_view = zip(self._source_sha256, views, strict=True)
        return list(dict.fromkeys(sha256 for hashes, view in by_view if view.seq for sha256 in hashes))
