"""Indicators and models that fail: the description of the error, and the dead letter for each symbol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from operators.handler_limit import HANDLER_TIME_LIMIT, HandlerTimedOut, timeout_error
from operators.indicator_calls import own_component
from operators.indicators import Indicator
from operators.raised_error import RaisedError, describe_error, source_file
from schemas.codec import SCHEMA_IDS, encode
from schemas.errors import BadInput
from schemas.records import Bar, CorporateAction, DeadLetter, FeatureRow, Quote

INVALID_VALUE = "InvalidValue"
"""`error_type` of an indicator or a model that returned a value that is not a finite number."""


def describe_indicator_error(error: Exception, indicator: Indicator) -> RaisedError:
    """Describe why a call of an indicator failed. A composed indicator may fail in each of its components."""
    if isinstance(error, HandlerTimedOut):
        return timeout_error(error.timeout)
    return describe_error(error, *map(source_file, indicator.components))


def check_snapshot(spec: str, indicator: Indicator, other: Indicator) -> None:
    """Raise BadInput if another new indicator of the same spec cannot restore the snapshot of a new one.

    Such an indicator would stop its service later.
    """
    try:
        state: Any = indicator.snapshot()
        if isinstance(state, tuple):
            other.restore(state)
    except Exception as error:
        described = describe_indicator_error(error, indicator)
        raise BadInput(
            f"indicator {spec}: its snapshot or restore raises {described.error_type}: {described.message} "
            f"({described.file}:{described.line})"
        ) from error
    if not isinstance(state, tuple):
        found = invalid_result("", type(own_component(indicator) or indicator).snapshot)
        raise BadInput(
            f"indicator {spec}: snapshot must return a tuple of plain values, found {type(state).__name__} "
            f"({found.file}:{found.line})"
        )


def are_finite(values: Mapping[str, float]) -> bool:
    """Whether all values are finite numbers. False also for huge ones whose sum is not finite.

    >>> are_finite({"sma_2": 1.5}), are_finite({"sma_2": float("nan")}), are_finite({"sma_2": None})
    (True, False, False)
    """
    try:
        return isfinite(sum(values.values()))
    except Exception:  # noqa: BLE001  (the values may be objects of the user)
        return False


def invalid_value(spec: str, indicator: Indicator, values: Mapping[str, Any]) -> RaisedError | None:
    """Describe the first value of an indicator that is not a finite number. Return None if all values are finite.

    The position is that of the method `update` of the user's own component, if there is one.
    """
    for suffix in indicator.value_suffixes:
        value = values.get(spec + suffix, 0.0)
        if not _is_finite(value):
            own = own_component(indicator) or indicator.components[-1]
            message = f"update wrote {_text(value)} as {spec}{suffix}, expected a finite number"
            return invalid_result(message, type(own).update)
    return None


def invalid_result(message: str, function: Callable[..., Any]) -> RaisedError:
    """Return an invalid result of a function in the form of a raised exception, at the position of the function."""
    code = getattr(function, "__code__", None)
    file, line = ("", 0) if code is None else (code.co_filename, code.co_firstlineno)
    return RaisedError(INVALID_VALUE, message, file, line)


def checked_forecast(forecast: Any) -> tuple[float, float] | None:
    """Return a forecast of a model as (expected return, probability of a return above 0), None if it is invalid.

    >>> checked_forecast((0.01, 0.6)), checked_forecast((float("nan"), 0.6)), checked_forecast((0.01, 1.5))
    ((0.01, 0.6), None, None)
    """
    try:
        expected_return, probability_up = map(float, forecast)
    except Exception:  # noqa: BLE001  (a registered model may return anything)
        return None
    return (expected_return, probability_up) if isfinite(expected_return) and 0 <= probability_up <= 1 else None


def invalid_forecast(forecast: Any, function: Callable[..., Any]) -> RaisedError:
    """Describe a forecast that `checked_forecast` rejects. `function` is the method of the model."""
    expected = "a finite return and a probability from 0 to 1"
    return invalid_result(f"forecast returned {_text(forecast)}, expected {expected}", function)


def _is_finite(value: Any) -> bool:
    try:
        return isfinite(value)
    except Exception:  # noqa: BLE001  (an object of the user)
        return False


def _text(value: Any) -> str:
    """Return a value as text in one line, or the name of its type if it has none."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  (an object of the user)
        text = ""
    return " ".join(text.replace("\0", "").encode(errors="replace").decode().split())[:64] or type(value).__name__


def suspension_letter(
    stage: str, kind: str, name: str, record: Bar | Quote | FeatureRow, error: RaisedError
) -> DeadLetter:
    """Return the dead letter of a component that failed on `record`. `kind` is "indicator" or "model".

    `topic` is `indicator:NAME/SYMBOL` or `model:NAME/SYMBOL`, with the record's `seq` as `offset`.
    """
    cause = error.message
    if error.error_type not in (INVALID_VALUE, HANDLER_TIME_LIMIT):
        cause = f"it raised {error.error_type}: {cause}"
    return DeadLetter(
        topic=f"{kind}:{name}/{record.symbol}",
        partition=0,
        offset=record.seq,
        stage=stage,
        ts_ns=record.ts_ns,
        reason=f"{kind} {name} is suspended for {record.symbol}: {cause} at {error.file}:{error.line}",
        schema_id=SCHEMA_IDS[type(record)],
        raw=encode(record),
    )


def rescale_letter(spec: str, action: CorporateAction, ts_ns: int, rows: int, error: RaisedError) -> DeadLetter:
    """Return the dead letter of an indicator that raised in `rescale` at a split or stock dividend.

    `ts_ns` is the time of the time slice. `topic` is `indicator:NAME/SYMBOL`, with the number of the
    symbol's feature rows so far as `offset`.
    """
    reason = (
        f"indicator {spec} warms up again for {action.symbol} after {action.kind} {action.action_id}: its rescale "
        f"raised {error.error_type}: {error.message} at {error.file}:{error.line}"
    )
    return DeadLetter(
        topic=f"indicator:{spec}/{action.symbol}",
        partition=0,
        offset=rows,
        stage="features",
        ts_ns=ts_ns,
        reason=reason,
        schema_id=SCHEMA_IDS[CorporateAction],
        raw=encode(action),
    )
