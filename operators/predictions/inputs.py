"""Convert a feature row to model inputs that do not depend on the price level.

Price levels such as averages are converted to their distance from the close, and price distances to a fraction of the
close. All other values (RSI, ADX, rates of change ...) do not change. Volumes are not inputs, because they
depend on the symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from operators.indicators import ValueUnit, outputs, unit_of_value
from schemas.errors import BadInput
from schemas.records import FeatureRow

_REJECTED = frozenset(
    {ValueUnit.VOLUME, ValueUnit.VOLUME_TOTAL, ValueUnit.TURNOVER, ValueUnit.PRICE_SQUARED_PER_VOLUME}
)


def is_model_input(spec: str) -> bool:
    """Return whether no value of this indicator is a volume or turnover. Raises BadInput for an unknown indicator.

    >>> is_model_input("sma_20"), is_model_input("sma_20@volume")
    (True, False)
    """
    return not any(_unit(name) in _REJECTED for name in outputs(spec))


def input_names(specs: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the values of these indicators, in order.

    Raises BadInput for an unknown indicator, for a volume or turnover (`is_model_input`), and if there are none.

    >>> input_names(["ema_12", "macd_12_26_9"])
    ('ema_12', 'macd_12_26_9', 'macd_12_26_9_signal', 'macd_12_26_9_histogram')
    """
    names = tuple(dict.fromkeys(name for spec in specs for name in outputs(spec)))
    rejected = [name for name in names if _unit(name) in _REJECTED]
    if rejected:
        raise BadInput(
            f"model inputs must not contain {', '.join(rejected)}: a volume differs by symbol or grows with the history"
        )
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
        unit = _unit(name)
        if unit is ValueUnit.PRICE:
            value = (value - close) / close
        elif unit is ValueUnit.PRICE_CHANGE:
            value = value / close
        elif unit is ValueUnit.PRICE_SQUARED:
            value = value / close**2
        inputs.append(value)
    return inputs


@lru_cache(maxsize=1024)
def _unit(name: str) -> ValueUnit | None:
    return unit_of_value(name)
