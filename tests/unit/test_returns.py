"""Returns net of flows against examples computed by hand and against slow definitions."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.performance import Performance
from operators.returns import DatedFlow, NetOfFlows, money_weighted_return
from operators.stage import TimeSlice
from schemas.records import Record
from tests.builders import bar, valuation

CAPITAL = Decimal(1000)


def run(*slices: tuple[float, float], restart_after: int | None = None) -> Performance:
    """Return the performance of a run of time slices (equity, cumulative net flows), one minute apart."""
    performance = Performance(CAPITAL)
    for seq, (equity, net_flows) in enumerate(slices, start=1):
        if seq == restart_after:
            snapshot, performance = performance.snapshot(), Performance(CAPITAL)
            performance.restore(snapshot)
        records: list[Record] = [
            bar("A", seq, seq, day=20240101 + seq),
            valuation(seq, seq, equity, net_flows=net_flows),
        ]
        performance.on_slice(TimeSlice(seq, records))
    return performance


def test_a_deposit_in_a_drawdown_changes_neither_return_nor_drawdown() -> None:
    """1000 falls to 800 (-20 %), 1200 come in, and 2000 rise to 2200 (+10 %): 0.8 x 1.1 = 0.88."""
    performance = run((1000, 0), (800, 0), (2000, 1200), (2200, 1200))
    assert performance.time_weighted_return() == pytest.approx(-0.12)
    assert performance.max_drawdown == pytest.approx(0.2)
    assert performance.summary()["net_flows"] == "1200"
    assert [equity for _, equity in performance.curve] == [1000, 800, 2000, 2200], "the curve is the equity itself"


def test_a_withdrawal_of_everything_ends_the_chain_until_the_next_deposit() -> None:
    """+10 %, everything is withdrawn, 500 come in later and rise by 20 %: 1.1 x 1.2 = 1.32."""
    performance = run((1100, 0), (0, -1100), (0, -1100), (500, -600), (600, -600), restart_after=4)
    assert performance.time_weighted_return() == pytest.approx(0.32)
    assert performance.max_drawdown == 0


def test_two_flows_in_one_time_slice_count_as_their_sum() -> None:
    """The trading gains 50 on 1000 in the slice in which 300 come in and 100 go out."""
    performance = run((1250, 200), (1312.5, 200))
    assert performance.time_weighted_return() == pytest.approx(1.05 * 1.05 - 1)


def test_a_total_loss_is_final_although_new_money_comes_in() -> None:
    performance = run((0, 0), (500, 500), (600, 500))
    assert performance.time_weighted_return() == -1
    assert performance.max_drawdown == 1


def test_without_flows_the_report_is_the_same_as_before() -> None:
    performance = run((1100.1, 0), (990.7, 0))
    assert "time_weighted_return" not in performance.summary()
    assert performance.time_weighted_return() == 990.7 / 1000 - 1
    assert performance.money_weighted_return() == 990.7 / 1000 - 1


returns = st.floats(-0.5, 1.0)
flows = st.floats(-0.9, 5.0)  # as a fraction of the equity before the flow


@given(st.lists(st.tuples(returns, flows), min_size=1, max_size=30))
def test_the_time_weighted_return_does_not_depend_on_time_and_size_of_flows(
    periods: list[tuple[float, float]],
) -> None:
    series, equity, net_flows, growth, value = NetOfFlows(), 1000.0, 0.0, 1.0, 1000.0
    for period_return, share in periods:
        equity *= 1 + period_return
        growth *= 1 + period_return
        net_flows += equity * share
        equity += equity * share
        value = series.add(equity, net_flows)
    assert value == pytest.approx(1000.0 * growth, rel=1e-6)


def test_the_money_weighted_return_of_a_published_example() -> None:
    """Microsoft's documentation of XIRR: five payments from 2008-01-01 to 2009-04-01 have a rate of 37.34 % a year."""

    def ns(year: int, month: int, day: int) -> int:
        return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 10**9

    start_ns, end_ns = ns(2008, 1, 1), ns(2009, 4, 1)
    withdrawals = [
        DatedFlow(ns(2008, 3, 1), -2750.0),
        DatedFlow(ns(2008, 10, 30), -4250.0),
        DatedFlow(ns(2009, 2, 15), -3250.0),
    ]
    rate = money_weighted_return(10_000.0, start_ns, withdrawals, 2750.0, end_ns)
    assert rate is not None
    years = (end_ns - start_ns) / (365 * 86_400e9)
    assert (1 + rate) ** (1 / years) - 1 == pytest.approx(0.373362535, abs=1e-6)


def test_the_money_weighted_return_counts_when_the_money_came() -> None:
    """The same trading, +50 % then -50 %, with 1000 more before the loss: time-weighted -25 %, money-weighted less."""
    performance = run((1000, 0), (1500, 0), (2500, 1000), (1250, 1000))
    assert performance.time_weighted_return() == pytest.approx(-0.25)
    money_weighted = performance.money_weighted_return()
    assert money_weighted is not None and money_weighted < -0.4
    weight = (4 - 3) / (4 - 1)
    growth = 1 + money_weighted
    assert 1000 * growth + 1000 * growth**weight == pytest.approx(1250)


@given(st.floats(-0.9, 3.0), st.lists(st.tuples(st.integers(1, 99), st.floats(1.0, 1e6)), max_size=10))
def test_the_money_weighted_return_solves_its_equation(rate: float, deposits: list[tuple[int, float]]) -> None:
    final = 1000 * (1 + rate) + math.fsum(amount * (1 + rate) ** ((100 - at) / 100) for at, amount in deposits)
    found = money_weighted_return(1000.0, 0, [DatedFlow(at, amount) for at, amount in deposits], final, 100)
    assert found == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize("flows", [[DatedFlow(5, 100.0)], []])
def test_there_is_no_money_weighted_return_without_a_period_or_capital(flows: list[DatedFlow]) -> None:
    assert money_weighted_return(0.0, 5, flows, 100.0, 5) is None
