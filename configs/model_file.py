"""A trained model as a file, and back: skops, never pickle, and the same bytes for the same model.

skops writes zip files with the time of day, names after memory addresses, and a schema full of such addresses.
`freeze` numbers them in order of their appearance and drops the time, so that the file's sha256 is the model's own.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from operators.predictions import Reference
from schemas.errors import BadInput

TRUSTED = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)
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
        said = json.loads(parts["said"])
        self.name: str = said["name"]
        self.sha256 = sha256
        self.features: tuple[str, ...] = tuple(said["features"])
        self.inputs: tuple[str, ...] = tuple(said["inputs"])
        self.horizon_bars: int = said["horizon_bars"]
        self._slope: float = said["slope"]
        self._a, self._b = said["calibration"]
        edges, shares, usual = said["reference"]
        self.reference = Reference(tuple(map(tuple, edges)), tuple(map(tuple, shares)), usual)

    def forecast(self, rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        import numpy as np

        given = np.asarray(rows, dtype=np.float64)
        gains = self._regressor.predict(given) * self._slope
        odds = self._classifier.decision_function(given) * self._b + self._a
        return list(zip(gains.tolist(), [_logistic(value) for value in odds.tolist()], strict=True))

    def frozen(self) -> bytes:
        return freeze(self._parts)


def freeze(parts: dict[str, Any]) -> bytes:
    """The parts as a skops file that depends on nothing else."""
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(parts))) as written:
        schema = json.loads(written.read("schema.json"))
        names: dict[str, str] = {}
        ids: dict[int, int] = {}
        schema = _renumbered(schema, ids, names)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as frozen:
            for old, new in names.items():
                frozen.writestr(zipfile.ZipInfo(new, _EPOCH), written.read(old))
            frozen.writestr(zipfile.ZipInfo("schema.json", _EPOCH), json.dumps(schema, sort_keys=True))
    return out.getvalue()


def load(file: Path, sha256: str) -> TrainedModel:
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
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BadInput(f"model file {file}: its sha256 must be {sha256}, found {found}")
    foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))
    if foreign:
        raise BadInput(f"model file {file}: holds types that a model has not: {', '.join(foreign)}")
    # A few rows a tick: waking a second thread costs more than they do.
    threadpool_limits(1, user_api="openmp")
    return TrainedModel(skops.io.loads(content, trusted=list(TRUSTED)), sha256)


def _renumbered(node: Any, ids: dict[int, int], names: dict[str, str]) -> Any:
    if isinstance(node, dict):
        out: dict[str, Any] = {}
        for key in sorted(node):
            value = node[key]
            if key == "__id__":
                out[key] = ids.setdefault(value, len(ids) + 1)
            elif key == "file":
                out[key] = names.setdefault(value, f"{len(names) + 1}{Path(value).suffix}")
            else:
                out[key] = _renumbered(value, ids, names)
        return out
    return [_renumbered(one, ids, names) for one in node] if isinstance(node, list) else node


def _logistic(value: float) -> float:
    from math import exp

    return 1.0 / (1.0 + exp(-value)) if value >= 0 else 1.0 - 1.0 / (1.0 + exp(value))
