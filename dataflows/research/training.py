"""Train a model on recorded feature rows, measure it out of sample and serialize it for the registry.

Two ensembles of gradient-boosted trees (J. Friedman, 2001; scikit-learn's histogram form after LightGBM) learn the
return over the horizon and whether it is above zero. Both are shrunk by their out-of-sample performance: the return by
the slope of a regression through the origin, the probability by Platt scaling (J. Platt, 1999) fitted to the
walk-forward forecasts. Training uses one thread and a seed, so the same rows yield the same file.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from configs.model_file import serialize
from operators.predictions.drift import build_reference
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


class TrainingSamples(NamedTuple):
    """Rows with a known label, in order of time and symbol: one line of each array per row."""

    inputs: Array
    returns: Array  # close at the horizon / close - 1
    begins: list[int]  # when the inputs were known, ns
    ends: list[int]  # when the label was known, ns
    symbols: list[str]


class TrainingResult(NamedTuple):
    model_bytes: bytes
    card: dict[str, Any]


def build_samples(rows: Iterable[FeatureRow], names: Sequence[str], horizon_bars: int) -> TrainingSamples:
    """Build samples from `rows` in order of time. A row has a label once its symbol has a row `horizon_bars` later
    of the same company.

    Raises BadInput if there are fewer than `ROWS_MIN` labelled rows.
    """
    pending: dict[str, list[tuple[FeatureRow, list[float] | None]]] = {}
    labelled: list[tuple[int, str, list[float], float, int]] = []
    for row in rows:
        symbol_rows = pending.setdefault(row.symbol, [])
        if symbol_rows and symbol_rows[-1][0].first_seq != row.first_seq:
            symbol_rows.clear()
        symbol_rows.append((row, inputs_of(row, names)))
        if len(symbol_rows) > horizon_bars:
            past_row, inputs = symbol_rows.pop(0)
            if inputs is not None:
                labelled.append((past_row.ts_ns, past_row.symbol, inputs, row.close / past_row.close - 1.0, row.ts_ns))
    labelled.sort(key=lambda sample: sample[:2])
    if len(labelled) < ROWS_MIN:
        raise BadInput(
            f"training needs at least {ROWS_MIN} rows with all indicators and a label, found {len(labelled)}"
        )
    return TrainingSamples(
        inputs=np.array([sample[2] for sample in labelled], dtype=np.float64),
        returns=np.array([sample[3] for sample in labelled], dtype=np.float64),
        begins=[sample[0] for sample in labelled],
        ends=[sample[4] for sample in labelled],
        symbols=[sample[1] for sample in labelled],
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
) -> TrainingResult:
    """Train and measure a model. `features` are specs of indicators that the rows hold.

    `embargo_bars` defaults to the horizon. Raises BadInput if there are too few rows.
    """
    import sklearn.ensemble  # noqa: F401  (its thread pools can be limited only after it is imported)
    from threadpoolctl import threadpool_limits

    names = input_names(features)
    data = build_samples(rows, names, horizon_bars)
    tree_options = {**PARAMETERS, "max_iter": trees, "early_stopping": False, "random_state": seed}
    embargo = horizon_bars if embargo_bars is None else embargo_bars
    with threadpool_limits(1):
        fold_metrics, forecasts = _evaluate_folds(data, folds, embargo, tree_options)
        slope, calibration = _shrinkage_slope(forecasts), _platt_scaling(forecasts)
        regressor, classifier = _fit(data.inputs, data.returns, tree_options)
    symbols = tuple(sorted(set(data.symbols)))
    reference = build_reference(_inputs_by_symbol(data, symbols))
    description = {
        "name": GRADIENT_BOOSTING,
        "features": list(features),
        "inputs": list(names),
        "horizon_bars": horizon_bars,
        "slope": slope,
        "calibration": calibration,
        "reference": reference,
    }
    model_parts = {"regressor": regressor, "classifier": classifier, "said": json.dumps(description, sort_keys=True)}
    card = {
        "name": GRADIENT_BOOSTING,
        "features": tuple(features),
        "inputs": names,
        "horizon_bars": horizon_bars,
        "symbols": symbols,
        "rows": len(data.returns),
        "trained_from_ns": data.begins[0],
        "trained_until_ns": max(data.ends),
        "data_sha256": _data_sha256(data),
        "parameters": {**PARAMETERS, "trees": trees, "seed": seed, "folds": folds, "embargo_bars": embargo},
        "folds": tuple(fold_metrics),
        "metrics": {**_mean_metrics(fold_metrics), "slope": slope, "drift_usual": reference.index_p95},
        "libraries": {name: version(name) for name in ("numpy", "scikit-learn", "skops")},
    }
    return TrainingResult(serialize(model_parts), card)


def _inputs_by_symbol(data: TrainingSamples, symbols: Sequence[str]) -> list[list[list[float]]]:
    by_symbol: dict[str, list[list[float]]] = {symbol: [] for symbol in symbols}
    for symbol, inputs in zip(data.symbols, data.inputs.tolist(), strict=True):
        by_symbol[symbol].append(inputs)
    return list(by_symbol.values())


def _mean_metrics(fold_metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([fold[name] for fold in fold_metrics])) for name in fold_metrics[0]}


class _OutOfSampleForecasts(NamedTuple):
    """Raw model outputs for rows outside the training set, with the actual returns."""

    predicted_returns: Array
    log_odds: Array
    returns: Array


def _evaluate_folds(
    data: TrainingSamples, folds: int, embargo: int, tree_options: dict[str, Any]
) -> tuple[list[dict[str, float]], _OutOfSampleForecasts]:
    """Return the metrics of each fold, beside those of the naive forecast, and all out-of-sample forecasts."""
    fold_metrics: list[dict[str, float]] = []
    past_forecasts: list[_OutOfSampleForecasts] = []
    for train_rows, test_rows in walk_forward(data.begins, data.ends, folds=folds, embargo=embargo):
        regressor, classifier = _fit(data.inputs[train_rows], data.returns[train_rows], tree_options)
        test_inputs, returns = data.inputs[test_rows], data.returns[test_rows]
        forecasts = _OutOfSampleForecasts(
            regressor.predict(test_inputs), classifier.decision_function(test_inputs), returns
        )
        # Calibrate with the earlier folds only, as in production.
        intercept, slope = _platt_scaling(_concatenate(past_forecasts)) if past_forecasts else (0.0, 1.0)
        base_rate = float(np.mean(data.returns[train_rows] > 0))
        fold_metrics.append(
            _metrics(
                forecasts, 1.0 / (1.0 + np.exp(-(intercept + slope * forecasts.log_odds))), base_rate, len(train_rows)
            )
        )
        past_forecasts.append(forecasts)
    return fold_metrics, _concatenate(past_forecasts)


def _metrics(
    forecasts: _OutOfSampleForecasts, probability_up: Array, base_rate: float, training_rows: int
) -> dict[str, float]:
    """Return the hit rate over rows whose price moved, the Brier score of the probability and the rank correlation of
    forecast and return.

    The naive forecast is the more frequent sign of the training rows, with its frequency as probability.
    """
    from scipy.stats import spearmanr

    moved = forecasts.returns != 0
    rose = forecasts.returns > 0
    has_variance = (
        len(forecasts.returns) > 2 and np.ptp(forecasts.predicted_returns) > 0 and np.ptp(forecasts.returns) > 0
    )
    return {
        "trained_rows": float(training_rows),
        "rows": float(len(forecasts.returns)),
        "hit_rate": float(np.mean((forecasts.predicted_returns > 0)[moved] == rose[moved])) if moved.any() else 0.5,
        "hit_rate_naive": float(np.mean(rose[moved] == (base_rate > 0.5))) if moved.any() else 0.5,
        "brier": float(np.mean((probability_up - rose) ** 2)),
        "brier_naive": float(np.mean((base_rate - rose) ** 2)),
        "ic": float(spearmanr(forecasts.predicted_returns, forecasts.returns).statistic) if has_variance else 0.0,
    }


def _fit(inputs: Array, returns: Array, tree_options: dict[str, Any]) -> tuple[Any, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    rose = returns > 0
    if rose.all() or not rose.any():
        raise BadInput("training needs rows that rose and rows that did not, found only one kind")
    return HistGradientBoostingRegressor(**tree_options).fit(inputs, returns), HistGradientBoostingClassifier(
        **tree_options
    ).fit(inputs, rose)


def _shrinkage_slope(forecasts: _OutOfSampleForecasts) -> float:
    """Return the factor for the raw return forecast, from 0 (no information) to 1 (unchanged)."""
    squared_norm = float(np.dot(forecasts.predicted_returns, forecasts.predicted_returns))
    return (
        min(1.0, max(0.0, float(np.dot(forecasts.predicted_returns, forecasts.returns)) / squared_norm))
        if squared_norm
        else 0.0
    )


def _platt_scaling(forecasts: _OutOfSampleForecasts) -> tuple[float, float]:
    """Return (a, b) of the logistic curve over the raw log-odds. b is never below 0; b = 0 yields the base rate."""
    from sklearn.linear_model import LogisticRegression

    rose = forecasts.returns > 0
    if rose.all() or not rose.any():
        return 0.0, 1.0
    fitted = LogisticRegression(C=1e6).fit(forecasts.log_odds.reshape(-1, 1), rose)
    slope = float(fitted.coef_[0, 0])
    if slope > 0:
        return float(fitted.intercept_[0]), slope
    base_rate = float(np.mean(rose))
    return float(np.log(base_rate / (1 - base_rate))), 0.0


def _concatenate(forecasts: Sequence[_OutOfSampleForecasts]) -> _OutOfSampleForecasts:
    return _OutOfSampleForecasts(*(np.concatenate(columns) for columns in zip(*forecasts, strict=True)))


def _data_sha256(data: TrainingSamples) -> str:
    """Hash the training data bit by bit: times, symbols, inputs and returns."""
    digest = hashlib.sha256()
    for begin, end, symbol in zip(data.begins, data.ends, data.symbols, strict=True):
        digest.update(struct.pack("<qq", begin, end) + symbol.encode() + b"\0")
    digest.update(np.ascontiguousarray(data.inputs, dtype="<f8").tobytes())
    digest.update(np.ascontiguousarray(data.returns, dtype="<f8").tobytes())
    return digest.hexdigest()
