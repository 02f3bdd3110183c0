"""The rolling statistics of the indicators stay exact over a long series with prints far from the price."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from operators.indicators.indicator import new_share_price
from operators.indicators.rolling import (
    ExponentialAverage,
    LinearlyWeightedAverage,
    PastValue,
    RollingMaximum,
    RollingSum,
)

SIZE = 20


def numbers(count: int, seed: int) -> list[float]:
    """Prices about 100 with a print of 1e9 now and then, and pauses of zeros. A naive sum keeps the print's error."""
    rng = random.Random(seed)
    return [
        0.0 if index % 1_000 > 950 else 1e9 if index % 211 == 0 else rng.uniform(99.0, 101.0) for index in range(count)
    ]


def weighted_mean(window: list[float]) -> float:
    return math.fsum(weight * value for weight, value in enumerate(window, start=1)) / (SIZE * (SIZE + 1) / 2)


@pytest.mark.parametrize(
    ("push", "definition"),
    [
        (RollingSum(SIZE).push, math.fsum),
        (LinearlyWeightedAverage(SIZE).push, weighted_mean),
        (RollingMaximum(SIZE).push, max),
    ],
    ids=["sum", "weighted average", "maximum"],
)
def test_a_wild_print_leaves_no_error_after_its_window(
    push: Callable[[float], float | None], definition: Callable[[list[float]], float]
) -> None:
    series = numbers(10_000, seed=1)
    for index, number in enumerate(series):
        value = push(number)
        if index % 7 == 0 and index >= SIZE:
            assert value == pytest.approx(definition(series[index - SIZE + 1 : index + 1]), rel=1e-9), f"number {index}"


def test_the_sum_of_zeros_is_exactly_zero() -> None:
    total, average = RollingSum(SIZE), LinearlyWeightedAverage(SIZE)
    for number in [0.1, 0.7, 1e6, 0.3] * 25:
        total.push(number)
        average.push(number)
    for _ in range(SIZE):
        last = total.push(0.0), average.push(0.0)
    assert last == (0.0, 0.0)


def test_the_latest_of_equal_maxima_counts_for_the_age() -> None:
    maximum = RollingMaximum(3)
    ages = []
    for number in (5.0, 4.0, 5.0, 1.0, 2.0, 0.0):
        maximum.push(number)
        ages.append(maximum.age)
    assert ages == [0, 1, 0, 1, 2, 1], "after three numbers the 5 leaves the window, and the 2 is the largest"


def test_a_past_value_is_exactly_the_delay_old() -> None:
    past = PastValue(3)
    assert [past.push(float(number)) for number in range(6)] == [None, None, None, 0.0, 1.0, 2.0]


def test_the_seed_of_an_exponential_average_is_its_first_number() -> None:
    average = ExponentialAverage(3)
    # The weight is 2 / (3 + 1): 8, then (8 + 4) / 2 = 6, then (6 + 2) / 2 = 4.
    assert [average.push(number) for number in (8.0, 4.0, 2.0)] == [None, None, 4.0]


def test_prices_of_bars_are_rounded_after_a_split_and_other_numbers_are_not() -> None:
    assert new_share_price(100.01, 1.0 / 3.0) == 33.336666667
    assert new_share_price(-100.01, 1.0 / 3.0) == -33.336666667
    average = 100.0123456789876
    assert new_share_price(average, 1.0 / 3.0) == average / 3.0
    tiny = 1.23456789e-7
    assert new_share_price(tiny, 0.5) == tiny * 0.5
