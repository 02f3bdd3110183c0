"""A trained model as a file, and back: skops, never pickle, and the same bytes for the same model.

skops writes zip files with the time of day, names after memory addresses, and a schema full of such addresses.
`serialize` numbers them in order of their appearance and drops the time, so that the file's sha256 is the model's own.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from operators.predictions import DriftReference
from schemas.errors import BadInput

TRUSTED_TYPES = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)
"""What a model file may hold beside what skops knows as harmless."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class TrainedModel:
    """Gradient-boosted trees for the return and for its sign, with what turns their raw outputs into forecasts.

    expected return = slope * regressor; probability of a rise = 1 / (1 + exp(-(a + b * classifier's log-odds))).
    `slope`, `a` and `b` were fitted to forecasts of rows that the trees had not seen.
    """

    def __init__(self, parts: dict[str, Any], sha256: str = "") -> None:
        self._parts = parts
        self._regressor, self._classifier = parts["regressor"], parts["classifier"]
        metadata = json.loads(parts["said"])
        self.name: str = metadata["name"]
        self.sha256 = sha256
        self.features: tuple[str, ...] = tuple(metadata["features"])
        self.inputs: tuple[str, ...] = tuple(metadata["inputs"])
        self.horizon_bars: int = metadata["horizon_bars"]
        self._slope: float = metadata["slope"]
        self._a, self._b = metadata["calibration"]
        edges, shares, drift_threshold = metadata["reference"]
        self.reference = DriftReference(tuple(map(tuple, edges)), tuple(map(tuple, shares)), drift_threshold)

    def forecast(self, rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        import numpy as np

        matrix = np.asarray(rows, dtype=np.float64)
        returns = self._regressor.predict(matrix) * self._slope
        odds = self._classifier.decision_function(matrix) * self._b + self._a
        return list(zip(returns.tolist(), [_logistic(value) for value in odds.tolist()], strict=True))

    def to_bytes(self) -> bytes:
        return serialize(self._parts)


def serialize(parts: dict[str, Any]) -> bytes:
    """The parts as a skops file that depends on nothing else."""
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(parts))) as source:
        schema = json.loads(source.read("schema.json"))
        names: dict[str, str] = {}
        ids: dict[int, int] = {}
        schema = _renumber(schema, ids, names)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for old, new in names.items():
                archive.writestr(zipfile.ZipInfo(new, _EPOCH), source.read(old))
            archive.writestr(zipfile.ZipInfo("schema.json", _EPOCH), json.dumps(schema, sort_keys=True))
    return buffer.getvalue()


def load_model(file: Path, sha256: str) -> TrainedModel:
    """The model in a file whose hash is known.

    Raises BadInput where the file is not there, is another one, or holds a type that nothing here writes.
    """
    import sklearn.ensemble  # noqa: F401  (its threads exist, and can be limited, once it is loaded)
    import skops.io
    from threadpoolctl import threadpool_limits

    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput(f"model file {file}: {error.strerror}") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise BadInput(f"model file {file}: its sha256 must be {sha256}, found {actual}")
    untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
    if untrusted:
        raise BadInput(f"model file {file}: holds types that a model has not: {', '.join(untrusted)}")
    # A few rows a tick: waking a second thread costs more than they do.
    threadpool_limits(1, user_api="openmp")
    return TrainedModel(skops.io.loads(content, trusted=list(TRUSTED_TYPES)), sha256)


def _renumber(node: Any, ids: dict[int, int], names: dict[str, str]) -> Any:
    if isinstance(node, dict):
        renumbered: dict[str, Any] = {}
        for key in sorted(node):
            value = node[key]
            if key == "__id__":
                renumbered[key] = ids.setdefault(value, len(ids) + 1)
            elif key == "file":
                renumbered[key] = names.setdefault(value, f"{len(names) + 1}{Path(value).suffix}")
            else:
                renumbered[key] = _renumber(value, ids, names)
        return renumbered
    return [_renumber(one, ids, names) for one in node] if isinstance(node, list) else node


def _logistic(value: float) -> float:
    from math import exp

    return 1.0 / (1.0 + exp(-value)) if value >= 0 else 1.0 - 1.0 / (1.0 + exp(value))
