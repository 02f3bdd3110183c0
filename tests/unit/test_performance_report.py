"""The performance report of a run against slow reference calculations over the whole equity curve."""

from __future__ import annotations

import json
import math
import random
import statistics
from decimal import Decimal
from itertools import pairwise

import pytest

from operators.performance import CURVE_POINTS_MAX, FILLS_SHOWN, Performance
from operators.stage import TimeSlice
from schemas.records import CANCELED
from tests.builders import bar, dead_letter, execution, refusal, signal, valuation

CAPITAL = Decimal(1000)


def run(days: list[list[float]]) -> Performance:
    """Return the performance of a run with one time slice per equity value and one list per trading day."""
    performance, seq = Performance(CAPITAL), 0
    for day, equities in enumerate(days):
        for equity in equities:
            seq += 1
            performance.on_slice(TimeSlice(seq, [bar("A", seq, seq, day=20240101 + day), valuation(seq, seq, equity)]))
    return performance


def random_equities(seed: int, days: int, slices_per_day: int) -> list[list[float]]:
    rng, equity, equities_by_day = random.Random(seed), 1000.0, []
    for _ in range(days):
        day = []
        for _ in range(slices_per_day):
            equity = round(equity * (1 + rng.gauss(0, 0.01)), 2)
            day.append(equity)
        equities_by_day.append(day)
    return equities_by_day


@pytest.mark.parametrize("seed", range(5))
def test_drawdown_is_the_largest_fall_from_any_earlier_equity(seed: int) -> None:
    days = random_equities(seed, 5, 20)
    curve = [1000.0, *(equity for day in days for equity in day)]
    naive = max(1 - curve[j] / curve[i] for i in range(len(curve)) for j in range(i, len(curve)))
    assert run(days).max_drawdown == pytest.approx(naive)


@pytest.mark.parametrize("seed", range(5))
def test_sharpe_is_mean_over_deviation_of_daily_returns_a_year(seed: int) -> None:
    days = random_equities(seed, 12, 7)
    closes = [1000.0, *(day[-1] for day in days)]
    returns = [after / before - 1 for before, after in pairwise(closes)]
    naive = statistics.mean(returns) / statistics.stdev(returns) * math.sqrt(252)
    assert run(days).sharpe() == pytest.approx(naive)


def test_without_two_days_or_without_movement_there_is_no_sharpe() -> None:
    assert Performance(CAPITAL).sharpe() is None
    assert run([[1001.0, 1002.0]]).sharpe() is None
    assert run([[1000.0], [1000.0], [1000.0]]).sharpe() is None


def test_reading_the_sharpe_changes_nothing() -> None:
    days = random_equities(3, 6, 5)
    performance = run(days[:3])
    performance.sharpe()
    assert performance.summary() == run(days[:3]).summary()


def test_counts_are_of_bars_signals_orders_fills_refusals_and_dead_letters() -> None:
    performance = Performance(CAPITAL)
    fill = execution(1, 1, "A", 1, 10.0)
    rejected_row = dead_letter("file:x")
    performance.on_slice(
        TimeSlice(
            1, [bar("A", 1, 1), signal("A", 1, 1), fill, fill._replace(seq=2, exec_type=CANCELED), refusal(1, 1, "A")]
        )
    )
    performance.on_slice(TimeSlice(2, [bar("A", 2, 2, traded=False), rejected_row]))
    expected = {"bars": 2, "signals": 1, "orders": 0, "fills": 1, "refusals": 1, "dead_letters": 1}
    assert {name: performance.summary()[name] for name in expected} == expected


def test_run_without_valuations_ends_with_its_initial_equity() -> None:
    summary = Performance(CAPITAL).summary()
    assert (summary["final_equity"], summary["cash"], summary["max_drawdown"]) == ("1000", "1000", 0.0)
    json.dumps(summary)


def test_money_in_the_summary_is_exact_text() -> None:
    performance = Performance(CAPITAL)
    performance.on_slice(TimeSlice(1, [valuation(1, 1, 999.25, fees="0.750000001", realized_pnl=10)]))
    summary = performance.summary()
    assert (summary["final_equity"], summary["fees"], summary["realized_pnl"]) == ("999.25", "0.750000001", "10")


def test_the_curve_and_the_fills_do_not_grow_with_the_run() -> None:
    performance = Performance(CAPITAL)
    slice_count = 5 * CURVE_POINTS_MAX
    for seq in range(1, slice_count + 1):
        performance.on_slice(TimeSlice(seq, [valuation(seq, seq, 1000.0 + seq), execution(seq, seq, "A", 1, 10.0)]))
    assert CURVE_POINTS_MAX // 2 <= len(performance.curve) < CURVE_POINTS_MAX
    assert len(performance.fills) == FILLS_SHOWN
    gaps = {after[0] - before[0] for before, after in pairwise(performance.curve)}
    assert max(gaps) < 2 * min(gaps), "thinned out evenly"


@pytest.mark.parametrize("cut", [0, 1, 9, 35])
def test_a_restart_anywhere_gives_the_same_report(cut: int) -> None:
    time_slices = [
        TimeSlice(
            seq,
            [
                bar("A", seq, seq, day=20240101 + seq // 7),
                valuation(seq, seq, equity),
                execution(seq, seq, "A", 1, 10.0),
            ],
        )
        for seq, equity in enumerate((equity for day in random_equities(1, 5, 8) for equity in day), 1)
    ]
    uninterrupted, before, after = Performance(CAPITAL), Performance(CAPITAL), Performance(CAPITAL)
    for time_slice in time_slices:
        uninterrupted.on_slice(time_slice)
    for time_slice in time_slices[:cut]:
        before.on_slice(time_slice)
    after.restore(before.snapshot())
    for time_slice in time_slices[cut:]:
        after.on_slice(time_slice)
    assert after.snapshot() == uninterrupted.snapshot()
    assert after.summary() == uninterrupted.summary()


def test_a_snapshot_does_not_change_with_later_slices() -> None:
    performance = run([[1000.0, 1001.0]])
    snapshot = performance.snapshot()
    text_before = repr(snapshot)
    performance.on_slice(TimeSlice(9, [bar("A", 9, 9), valuation(9, 9, 900.0), execution(1, 9, "A", 1, 10.0)]))
    assert repr(snapshot) == text_before
