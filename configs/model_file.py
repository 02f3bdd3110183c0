"""Serialize and load trained models: skops, never pickle. The same model always has the same bytes.

skops writes zip files that contain timestamps and memory addresses. `serialize` numbers the addresses in order of
appearance and removes the timestamps, so that the sha256 of the file identifies the model.
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
"""Types that a model file may contain in addition to those that skops trusts."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class LoadedModel:
    """Gradient-boosted trees for the return and for its sign, with the calibration of their raw outputs.

    expected return = slope * regressor; probability of a rise = 1 / (1 + exp(-(a + b * classifier's log-odds))).
    `slope`, `a` and `b` are fitted to forecasts of rows outside the training data.
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
        """Return (expected return, probability of a rise) for each row. A row has a value for each of `inputs`."""
        import numpy as np

        matrix = np.asarray(rows, dtype=np.float64)
        returns = self._regressor.predict(matrix) * self._slope
        odds = self._classifier.decision_function(matrix) * self._b + self._a
        return list(zip(returns.tolist(), [_logistic(value) for value in odds.tolist()], strict=True))

    def to_bytes(self) -> bytes:
        return serialize(self._parts)


def serialize(parts: dict[str, Any]) -> bytes:
    """Return the parts as a skops file whose bytes depend only on the parts."""
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


def load_model(file: Path, sha256: str) -> LoadedModel:
    """Load the model file with this hash.

    Raises BadInput if the file is missing, has another hash, or contains an untrusted type.
    """
    import sklearn.ensemble  # noqa: F401  (threadpoolctl can only limit libraries that are loaded)
    import skops.io
    from threadpoolctl import threadpool_limits

    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput(f"model file {file}: {error.strerror}") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise BadInput(f"model file {file}: expected sha256 {sha256}, found {actual}")
    untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
    if untrusted:
        raise BadInput(f"model file {file}: found untrusted types: {', '.join(untrusted)}")
    # A time slice has few rows: a second thread costs more than it saves.
    threadpool_limits(1, user_api="openmp")
    return LoadedModel(skops.io.loads(content, trusted=list(TRUSTED_TYPES)), sha256)


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
