"""Convert a feature row to model inputs that do not depend on the price level.

Averages are converted to their distance from the close, and other values in money to a fraction of the close. All other
values (RSI, ADX, rates of change ...) do not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from operators.indicators import outputs
from schemas.errors import BadInput
from schemas.records import FeatureRow

_PRICE_LEVELS = frozenset({"sma", "ema", "vwap", "bollinger"})
_PRICE_DIFFERENCES = frozenset({"macd", "atr"})
_UNBOUNDED = frozenset({"obv"})


def input_names(specs: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the values of these indicators, in order.

    Raises BadInput for an unknown indicator, for one whose value grows with the history, and if there are none.

    >>> input_names(["ema_12", "macd_12_26_9"])
    ('ema_12', 'macd_12_26_9', 'macd_12_26_9_signal', 'macd_12_26_9_histogram')
    """
    names = tuple(dict.fromkeys(name for spec in specs for name in outputs(spec)))
    unbounded = [name for name in names if _kind(name) in _UNBOUNDED]
    if unbounded:
        raise BadInput(f"model inputs must not contain {', '.join(unbounded)}: the value grows with the history")
    if not names:
        raise BadInput("a model requires at least one indicator, found none")
    return names


def inputs_of(row: FeatureRow, names: Sequence[str]) -> list[float] | None:
    """Return the row's values for a model, in the order of `names`; None while one of them has not warmed up.

    >>> inputs_of(FeatureRow("A", 1, 60, 1, 50.0, {"ema_3": 49.0, "rsi_3": 60.0}), ["ema_3", "rsi_3"])
    [-0.02, 60.0]
    """
    close, values = row.close, row.values
    if close <= 0:
        return None
    inputs: list[float] = []
    for name in names:
        value = values.get(name)
        if value is None:
            return None
        kind = _kind(name)
        if kind in _PRICE_LEVELS:
            value = (value - close) / close
        elif kind in _PRICE_DIFFERENCES:
            value = value / close
        inputs.append(value)
    return inputs


def _kind(name: str) -> str:
    return name.partition("_")[0]
