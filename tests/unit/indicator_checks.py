"""Bars for the tests of the indicators, and the rules that every indicator follows, as functions that assert them.

A `Case` is one kind of indicator. Its definition is a slow and separate computation of the values at every bar, with
NaN where a value is absent. The library is TA-Lib or `ta`, compared from bar `library_start` on, because libraries form
their first values in other ways.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from operators.indicators import build, outputs, unit_of_value
from schemas.records import PRE, REGULAR, Bar, SessionPhase
from tests.builders import bar

Columns = dict[str, Any]
"""Values by suffix, one for each bar."""
Computation = Callable[[pd.DataFrame, list[float]], Columns]
"""Compute the values from a table of bars and the parameters of the spec."""

BAR_COUNT = 600


class Case(NamedTuple):
    """How to check one kind of indicator.

    `constant` has the values on bars of the price 10 without volume; a suffix that it lacks is absent there. `bounds`
    apply to all values.
    """

    specs: tuple[str, ...]
    definition: Computation
    library: Computation | None = None
    library_start: int = 400
    constant: dict[str, float] = {}  # noqa: RUF012  (never changed)
    bounds: tuple[float, float] = (-math.inf, math.inf)


def bars_of(count: int, seed: int, price: float = 100.0, step: float = 1e-3) -> list[Bar]:
    """Build a random walk over several days of two sessions, with no-trade bars and runs of equal closes."""
    return list(_random_walk(count, seed, price, step))


@cache
def _random_walk(count: int, seed: int, price: float, step: float) -> tuple[Bar, ...]:
    rng = random.Random(seed)
    bars: list[Bar] = []
    close = price
    for index in range(count):
        traded = rng.random() > 0.15
        open_price = close
        if traded and rng.random() > 0.1:
            close = round(close * math.exp(rng.gauss(0.0, step)), 4)
        high = max(open_price, close) + (round(abs(rng.gauss(0.0, price * step / 2)), 4) if traded else 0.0)
        low = min(open_price, close) - (round(abs(rng.gauss(0.0, price * step / 2)), 4) if traded else 0.0)
        volume = float(rng.randint(1, 10_000)) if traded else 0.0
        session: SessionPhase = PRE if index % 100 < 30 else REGULAR
        bars.append(
            bar(
                "AAPL",
                index + 1,
                (index + 1) * 60_000_000_000,
                close,
                open=open_price,
                high=high,
                low=low,
                volume=volume,
                session=session,
                day=20260105 + index // 100,
                traded=traded,
            )
        )
    return tuple(bars)


def constant_bars(count: int, price: float = 10.0) -> list[Bar]:
    """Build bars of one price without volume."""
    return [
        one._replace(open=price, high=price, low=price, close=price, volume=0.0, traded=False)
        for one in bars_of(count, seed=1)
    ]


def split_bar(one: Bar, ratio: float) -> Bar:
    """Return the bar in the shares after a split that makes `ratio` shares of one."""
    prices = {name: getattr(one, name) / ratio for name in ("open", "high", "low", "close")}
    return one._replace(**prices, volume=one.volume * ratio)


def values_of(spec: str, bars: list[Bar]) -> list[dict[str, float]]:
    """Return the values at each bar."""
    indicator = build(spec)
    rows: list[dict[str, float]] = []
    for one in bars:
        rows.append({})
        indicator.update(one, rows[-1])
    return rows


def parameters_of(kind: str, spec: str) -> list[float]:
    """Return the parameters of a spec.

    >>> parameters_of("t3", "t3_5_0.7")
    [5.0, 0.7]
    """
    return [float(text) for text in spec.removeprefix(kind).split("_")[1:]]


def json_like(state: Any) -> Any:
    """Return the state after a JSON round trip. Only plain values pass, and nothing is shared."""
    if isinstance(state, tuple):
        return tuple([json_like(one) for one in state])
    assert state is None or type(state) in (int, float, str), f"not plain: {state!r}"
    return json.loads(json.dumps(state)) if state.__class__ is not float else float(repr(state))


@cache
def _bars(price: float) -> tuple[list[Bar], pd.DataFrame]:
    bars = bars_of(BAR_COUNT, seed=3, price=price)
    return bars, pd.DataFrame(bars)


def _table(spec: str, rows: list[dict[str, float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the values as an array: bars by outputs, NaN where absent."""
    names = outputs(spec)
    return np.array([[row.get(name, math.nan) for name in names] for row in rows])


# -- the rules ---------------------------------------------------------------------------------------------------------


def values_equal_the_definition_and_the_library(kind: str, spec: str, case: Case) -> None:
    for price in (100.0, 1e5):
        bars, frame = _bars(price)
        rows = values_of(spec, bars)
        assert set().union(*rows) == set(outputs(spec))
        actual = _table(spec, rows)
        parameters = parameters_of(kind, spec)
        definition = case.definition(frame, parameters)
        assert {spec + suffix for suffix in definition} == set(outputs(spec))
        for index, name in enumerate(outputs(spec)):
            expected = np.asarray(definition[name.removeprefix(spec)], dtype=float)
            assert np.isfinite(expected).sum() > BAR_COUNT / 2, f"{name}: the definition has too few values"
            _assert_equal(name, actual[:, index], expected, price)
        if case.library is not None:
            for suffix, column in case.library(frame, parameters).items():
                index = outputs(spec).index(spec + suffix)
                expected = np.array(column, dtype=float)
                column_of_value = actual[:, index]
                # A library has another idea of which bars are undefined: 0, NaN or infinity.
                defined = np.isfinite(expected) & ~(np.isnan(column_of_value) & (expected == 0.0))
                defined[: case.library_start] = False
                assert defined.sum() >= 100, f"{spec}{suffix}: the library has too few values"
                _assert_equal(f"{spec}{suffix} of the library", column_of_value[defined], expected[defined], price)


def _assert_equal(
    name: str,
    actual: np.ndarray[Any, np.dtype[np.float64]],
    expected: np.ndarray[Any, np.dtype[np.float64]],
    price: float,
) -> None:
    # A difference of numbers is only as exact as the numbers.
    tolerance = 1e-12 * max(price, float(np.nanmax(np.abs(expected))))
    equal = np.isclose(actual, expected, rtol=1e-9, atol=tolerance, equal_nan=True)
    wrong = np.flatnonzero(~equal)
    assert not wrong.size, (
        f"{name} at price {price}: {wrong.size} bars differ, the first is number {wrong[0]}: "
        f"found {actual[wrong[0]]!r}, expected {expected[wrong[0]]!r}"
    )


def a_restart_at_every_bar_changes_no_value(kind: str, spec: str, case: Case) -> None:
    bars = bars_of(160, seed=5)
    expected = values_of(spec, bars)
    indicator = build(spec)
    for one, row in zip(bars, expected, strict=True):
        snapshot = json_like(indicator.snapshot())
        indicator = build(spec)
        indicator.restore(snapshot)
        values: dict[str, float] = {}
        indicator.update(one, values)
        assert values == row, f"bar {one.seq}"


def later_bars_do_not_change_a_snapshot(kind: str, spec: str, case: Case) -> None:
    bars = bars_of(160, seed=7)
    indicator, restored = build(spec), build(spec)
    for one in bars[:120]:
        indicator.update(one, {})
    snapshot = indicator.snapshot()
    text = repr(snapshot)
    restored.restore(snapshot)
    for one in bars[120:]:
        indicator.update(one, {})
        assert repr(snapshot) == text
    assert repr(restored.snapshot()) == text


def the_state_does_not_grow_with_the_history(kind: str, spec: str, case: Case) -> None:
    def size(state: Any) -> int:
        return sum(map(size, state)) if isinstance(state, tuple) else 1

    indicator = build(spec)
    size_max = 20 + 6 * sum(parameters_of(kind, spec))
    # A steady fall keeps every high as a candidate for the maximum of the window.
    falling = [split_bar(one, 1.0 + one.seq / 100) for one in bars_of(300, seed=9)]
    for index, one in enumerate(bars_of(300, seed=9) + falling):
        indicator.update(one, {})
        if index % 10 == 9:
            assert size(indicator.snapshot()) <= size_max


def a_split_changes_nothing_but_the_unit(kind: str, spec: str, case: Case) -> None:
    """After a split, an indicator continues as if all bars had been in new shares."""
    bars = bars_of(400, seed=7)
    new_bars = [split_bar(one, 4.0) for one in bars]
    expected = _table(spec, values_of(spec, new_bars))
    before_split = build(spec)
    for index, one in enumerate(bars):
        if index in (1, 3, 40, 250):
            indicator = build(spec)
            indicator.restore(before_split.snapshot())
            indicator.rescale(0.25)
            rows: list[dict[str, float]] = []
            for new in new_bars[index : index + 150]:
                rows.append({})
                indicator.update(new, rows[-1])
            actual = _table(spec, rows)
            np.testing.assert_allclose(
                actual, expected[index : index + 150], rtol=1e-9, atol=1e-9, err_msg=f"split after {index} bars"
            )
        before_split.update(one, {})


def a_pause_over_a_split_leaves_no_rounding_error(kind: str, spec: str, case: Case) -> None:
    """A third of a price is rounded to nine decimals. The rounding error is no move of the price."""
    moving = bars_of(80, seed=33)
    close = moving[-1].close
    pause = [one._replace(open=close, high=close, low=close, close=close) for one in constant_bars(100)]
    old = moving + pause
    new = [
        one._replace(
            open=round(one.open / 3.0, 9),
            high=round(one.high / 3.0, 9),
            low=round(one.low / 3.0, 9),
            close=round(one.close / 3.0, 9),
            volume=one.volume * 3.0,
        )
        for one in old
    ]
    indicator = build(spec)
    for one in old[:120]:
        indicator.update(one, {})
    indicator.rescale(1.0 / 3.0)
    rows: list[dict[str, float]] = []
    for one in new[120:]:
        rows.append({})
        indicator.update(one, rows[-1])
    expected = _table(spec, values_of(spec, new))[120:]
    np.testing.assert_allclose(_table(spec, rows), expected, rtol=1e-6, atol=1e-6)


def a_constant_price_without_volume_gives_the_expected_values(kind: str, spec: str, case: Case) -> None:
    last = values_of(spec, constant_bars(250))[-1]
    expected = {spec + suffix: value for suffix, value in case.constant.items()}
    assert set(last) == set(expected)
    for name, value in last.items():
        assert math.isclose(value, expected[name], rel_tol=1e-12, abs_tol=1e-12), f"{name}: {value}"


def a_long_pause_in_trading_leaves_no_rounding_error(kind: str, spec: str, case: Case) -> None:
    """The values converge to those of a constant price, or are undefined, and stay finite and within their bounds."""
    low, high = case.bounds
    for row in values_of(spec, bars_of(150, seed=2) + constant_bars(1_200)):
        for name, value in row.items():
            assert math.isfinite(value) and low - 1e-9 <= value <= high + 1e-9, f"{name}: {value}"


def extreme_prices_give_finite_values_within_the_bounds(kind: str, spec: str, case: Case) -> None:
    rng = random.Random(17)
    low, high = case.bounds
    slack = 1e-6
    template = bars_of(1, seed=1)[0]
    indicator = build(spec)
    for index in range(500):
        prices = sorted(10.0 ** rng.uniform(-3.0, 6.0) for _ in range(3))
        if index % 7 == 0:
            prices = [prices[1]] * 3
        volume = rng.choice((0.0, 1.0, 10.0 ** rng.uniform(0.0, 9.0)))
        values: dict[str, float] = {}
        indicator.update(
            template._replace(open=prices[1], low=prices[0], close=prices[1], high=prices[2], volume=volume), values
        )
        for name, value in values.items():
            assert math.isfinite(value) and low - slack <= value <= high + slack, f"{name}: {value}"


def the_declared_unit_defines_how_a_split_changes_the_value(kind: str, spec: str, case: Case) -> None:
    bars = bars_of(150, seed=27)
    old, new = values_of(spec, bars)[-1], values_of(spec, [split_bar(one, 4.0) for one in bars])[-1]
    assert set(old) == set(new) == set(outputs(spec))
    for name, value in new.items():
        unit = unit_of_value(name)
        assert unit is not None, f"{name} declares no unit"
        assert math.isclose(value, old[name] * 0.25**unit.price_power, rel_tol=1e-9, abs_tol=1e-9), name


def another_input_is_accepted_exactly_if_only_the_close_is_read(kind: str, spec: str, case: Case) -> None:
    bars = bars_of(150, seed=28)
    changed = [
        one._replace(open=one.low, high=one.high + i % 7, low=one.low - i % 5, volume=one.volume + i % 3)
        for i, one in enumerate(bars)
    ]
    accepts_input = build(spec).accepts_input
    assert accepts_input == (values_of(spec, bars) == values_of(spec, changed))
    if accepts_input:
        numbers = [0.0, 0.0, 5.0, -3.0, 0.0, 1e9, -1e-9] * 20
        for row in values_of(spec, [bars[0]._replace(open=x, high=x, low=x, close=x) for x in numbers]):
            assert all(map(math.isfinite, row.values())), row


RULES: tuple[Callable[[str, str, Case], None], ...] = (
    values_equal_the_definition_and_the_library,
    a_restart_at_every_bar_changes_no_value,
    later_bars_do_not_change_a_snapshot,
    the_state_does_not_grow_with_the_history,
    a_split_changes_nothing_but_the_unit,
    a_pause_over_a_split_leaves_no_rounding_error,
    a_constant_price_without_volume_gives_the_expected_values,
    a_long_pause_in_trading_leaves_no_rounding_error,
    extreme_prices_give_finite_values_within_the_bounds,
    the_declared_unit_defines_how_a_split_changes_the_value,
    another_input_is_accepted_exactly_if_only_the_close_is_read,
)
