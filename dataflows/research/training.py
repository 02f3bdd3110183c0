"""From recorded feature rows to a registered model, and how it would have done on rows that it had not seen.

Two ensembles of gradient-boosted trees (J. Friedman, 2001; scikit-learn's histogram form after LightGBM) learn the
return over the horizon and whether it is above zero. Both are shrunk to what they were worth on unseen rows: the
return by the slope of a regression through the origin, the probability by Platt scaling (J. Platt, 1999) fitted to the
walk-forward forecasts. One thread and a seed: the same rows give the same file.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from configs.model_file import freeze
from operators.predictions.drift import reference_of
from operators.predictions.folds import walk_forward
from operators.predictions.inputs import input_names, inputs_of
from schemas.errors import BadInput
from schemas.records import FeatureRow

GRADIENT_BOOSTING = "gradient_boosting"
MODELS = (GRADIENT_BOOSTING,)
TREES = 100
PARAMETERS: dict[str, float] = {"max_depth": 4, "learning_rate": 0.05, "min_samples_leaf": 50}
ROWS_MIN = 500
Array = np.ndarray[Any, np.dtype[np.float64]]


class Samples(NamedTuple):
    """Rows whose label is known, in order of time and symbol: one line of each array a row."""

    inputs: Array
    returns: Array  # close at the horizon / close - 1
    begins: list[int]  # when the inputs were known, ns
    ends: list[int]  # when the label was
    symbols: list[str]


class Trained(NamedTuple):
    frozen: bytes
    card: dict[str, Any]


def samples(rows: Iterable[FeatureRow], names: Sequence[str], horizon_bars: int) -> Samples:
    """`rows` in order of time; a row counts once its symbol has a row `horizon_bars` later."""
    waiting: dict[str, list[tuple[FeatureRow, list[float] | None]]] = {}
    found: list[tuple[int, str, list[float], float, int]] = []
    for row in rows:
        held = waiting.setdefault(row.symbol, [])
        held.append((row, inputs_of(row, names)))
        if len(held) > horizon_bars:
            past, inputs = held.pop(0)
            if inputs is not None:
                found.append((past.ts_ns, past.symbol, inputs, row.close / past.close - 1.0, row.ts_ns))
    found.sort(key=lambda one: one[:2])
    if len(found) < ROWS_MIN:
        raise BadInput(f"training needs at least {ROWS_MIN} rows with all indicators and a label, found {len(found)}")
    return Samples(
        np.array([one[2] for one in found], dtype=np.float64),
        np.array([one[3] for one in found], dtype=np.float64),
        [one[0] for one in found],
        [one[4] for one in found],
        [one[1] for one in found],
    )


def train(
    rows: Iterable[FeatureRow],
    features: Sequence[str],
    *,
    horizon_bars: int,
    folds: int = 5,
    embargo_bars: int | None = None,
    trees: int = TREES,
    seed: int = 0,
) -> Trained:
    """Train, measure and freeze. `features` are specs of indicators that the rows hold; the embargo is as long as the
    horizon where nothing is said. Raises BadInput where there is too little to learn from.
    """
    import sklearn.ensemble  # noqa: F401  (its threads exist, and can be limited, once it is loaded)
    from threadpoolctl import threadpool_limits

    names = input_names(features)
    data = samples(rows, names, horizon_bars)
    how = {**PARAMETERS, "max_iter": trees, "early_stopping": False, "random_state": seed}
    embargo = horizon_bars if embargo_bars is None else embargo_bars
    with threadpool_limits(1):
        measured, unseen = _walk(data, folds, embargo, how)
        slope, calibration = _slope(unseen), _platt(unseen)
        regressor, classifier = _fit(data.inputs, data.returns, how)
    by_symbol: dict[str, list[list[float]]] = {}
    for symbol, inputs in zip(data.symbols, data.inputs.tolist(), strict=True):
        by_symbol.setdefault(symbol, []).append(inputs)
    reference = reference_of([by_symbol[symbol] for symbol in sorted(by_symbol)])
    said = {
        "name": GRADIENT_BOOSTING,
        "features": list(features),
        "inputs": list(names),
        "horizon_bars": horizon_bars,
        "slope": slope,
        "calibration": calibration,
        "reference": reference,
    }
    parts = {"regressor": regressor, "classifier": classifier, "said": json.dumps(said, sort_keys=True)}
    metrics = {name: float(np.mean([fold[name] for fold in measured])) for name in measured[0] if name[0] != "_"}
    card = {
        "name": GRADIENT_BOOSTING,
        "features": tuple(features),
        "inputs": names,
        "horizon_bars": horizon_bars,
        "symbols": tuple(sorted(by_symbol)),
        "rows": len(data.returns),
        "trained_from_ns": data.begins[0],
        "trained_until_ns": max(data.ends),
        "data_sha256": _hash(data),
        "parameters": {**PARAMETERS, "trees": trees, "seed": seed, "folds": folds, "embargo_bars": embargo},
        "folds": tuple(measured),
        "metrics": {**metrics, "slope": slope, "drift_usual": reference.usual},
        "libraries": {name: version(name) for name in ("numpy", "scikit-learn", "skops")},
    }
    return Trained(freeze(parts), card)


class _Unseen(NamedTuple):
    """Raw outputs for rows that the trees had not seen, and what became of them."""

    gains: Array
    odds: Array
    returns: Array


def _walk(data: Samples, folds: int, embargo: int, how: dict[str, Any]) -> tuple[list[dict[str, float]], _Unseen]:
    """The metrics of each fold beside the naive forecast's, and all unseen forecasts."""
    measured: list[dict[str, float]] = []
    gone: list[_Unseen] = []
    for train_rows, test_rows in walk_forward(data.begins, data.ends, folds=folds, embargo=embargo):
        regressor, classifier = _fit(data.inputs[train_rows], data.returns[train_rows], how)
        given, returns = data.inputs[test_rows], data.returns[test_rows]
        seen = _Unseen(regressor.predict(given), classifier.decision_function(given), returns)
        # Calibrated by the folds before it, as it would be in use.
        a, b = _platt(_joined(gone)) if gone else (0.0, 1.0)
        up_before = float(np.mean(data.returns[train_rows] > 0))
        measured.append(_metrics(seen, 1.0 / (1.0 + np.exp(-(a + b * seen.odds))), up_before, len(train_rows)))
        gone.append(seen)
    return measured, _joined(gone)


def _metrics(seen: _Unseen, up: Array, up_before: float, trained: int) -> dict[str, float]:
    """Hit rate over rows whose price moved, Brier score of the probability, rank correlation of forecast and return.

    The naive forecast says the more frequent sign of the training rows, with its frequency as probability.
    """
    from scipy.stats import spearmanr

    moved = seen.returns != 0
    rose = seen.returns > 0
    varied = len(seen.returns) > 2 and np.ptp(seen.gains) > 0 and np.ptp(seen.returns) > 0
    return {
        "trained_rows": float(trained),
        "rows": float(len(seen.returns)),
        "hit_rate": float(np.mean((seen.gains > 0)[moved] == rose[moved])) if moved.any() else 0.5,
        "hit_rate_naive": float(np.mean(rose[moved] == (up_before > 0.5))) if moved.any() else 0.5,
        "brier": float(np.mean((up - rose) ** 2)),
        "brier_naive": float(np.mean((up_before - rose) ** 2)),
        "ic": float(spearmanr(seen.gains, seen.returns).statistic) if varied else 0.0,
    }


def _fit(inputs: Array, returns: Array, how: dict[str, Any]) -> tuple[Any, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    rose = returns > 0
    if rose.all() or not rose.any():
        raise BadInput("training needs rows that rose and rows that did not, found one kind only")
    return HistGradientBoostingRegressor(**how).fit(inputs, returns), HistGradientBoostingClassifier(**how).fit(
        inputs, rose
    )


def _slope(seen: _Unseen) -> float:
    """By how much the raw forecast of the return is to be believed: from not at all (0) to as it stands (1)."""
    size = float(np.dot(seen.gains, seen.gains))
    return min(1.0, max(0.0, float(np.dot(seen.gains, seen.returns)) / size)) if size else 0.0


def _platt(seen: _Unseen) -> tuple[float, float]:
    """(a, b) of the logistic curve over the raw log-odds; b never below 0: a worthless score says the base rate."""
    from sklearn.linear_model import LogisticRegression

    rose = seen.returns > 0
    if rose.all() or not rose.any():
        return 0.0, 1.0
    fitted = LogisticRegression(C=1e6).fit(seen.odds.reshape(-1, 1), rose)
    slope = float(fitted.coef_[0, 0])
    if slope > 0:
        return float(fitted.intercept_[0]), slope
    share = float(np.mean(rose))
    return float(np.log(share / (1 - share))), 0.0


def _joined(gone: Sequence[_Unseen]) -> _Unseen:
    return _Unseen(*(np.concatenate(parts) for parts in zip(*gone, strict=True)))


def _hash(data: Samples) -> str:
    """Of what was learnt from: times, symbols, inputs and returns, bit for bit."""
    whole = hashlib.sha256()
    for begin, end, symbol in zip(data.begins, data.ends, data.symbols, strict=True):
        whole.update(struct.pack("<qq", begin, end) + symbol.encode() + b"\0")
    whole.update(np.ascontiguousarray(data.inputs, dtype="<f8").tobytes())
    whole.update(np.ascontiguousarray(data.returns, dtype="<f8").tobytes())
    return whole.hexdigest()
