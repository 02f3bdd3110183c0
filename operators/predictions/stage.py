"""Feature rows in, a model's forecasts out. Without a registered model there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from schemas.records import FeatureRow, Prediction, Record, feature_id

VERSION = 1


class Model(Protocol):
    """A registered model, loaded. `features` are the specs of the indicators it reads."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def features(self) -> tuple[str, ...]: ...

    @property
    def horizon_bars(self) -> int: ...

    def forecast(self, values: Mapping[str, float]) -> tuple[float, float]:
        """Expected return as a fraction, and the probability that it is above zero."""
        ...


class PredictionStage:
    """One Prediction for each feature row that holds all the model's features."""

    def __init__(self, model: Model | None) -> None:
        self._model = model
        self._seqs: dict[str, int] = {}

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        model = self._model
        if model is None:
            return []
        out: list[Record] = []
        for row in records:
            if type(row) is FeatureRow and all(spec in row.values for spec in model.features):
                seq = self._seqs[row.symbol] = self._seqs.get(row.symbol, 0) + 1
                gain, up = model.forecast(row.values)
                cause = feature_id(row.symbol, row.seq)
                out.append(
                    Prediction(
                        row.symbol, seq, row.ts_ns, model.name, model.sha256, cause, model.horizon_bars, gain, up, 0.0
                    )
                )
        return out

    def snapshot(self) -> Any:
        return (VERSION, dict(self._seqs))

    def restore(self, snapshot: Any) -> None:
        version, seqs = snapshot
        assert version == VERSION, f"predictions state of version {version}, expected {VERSION}"
        self._seqs = dict(seqs)
