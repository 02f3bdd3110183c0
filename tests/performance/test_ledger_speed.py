"""Ledger speed: executions per second by method, cost and size with a long history, and a bar through the portfolio."""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Sequence
from decimal import Decimal

import pytest

from operators.ledger import Ledger
from operators.ledger.lots import LotMethod
from operators.portfolio import PortfolioStage
from schemas.records import BUY, SELL, Bar, Execution
from tests.builders import bar, execution
from tests.performance.conftest import RecordFigure
from tests.performance.reference_speed import decimal_us

EXECUTION_COST_MAX = 400
BAR_COST_MAX = 60
"""In multiples of `decimal_us`."""
MINUTE = 60 * 10**9


def executions(count: int, seed: int = 7) -> list[Execution]:
    """Random trades of 20 symbols that scale in and out, with partial closes and reversals."""
    rng = random.Random(seed)
    out = []
    for seq in range(1, count + 1):
        quantity, price = rng.randrange(1, 10) * 100, Decimal(rng.randrange(1_000, 2_000)) / 100
        sign, symbol = rng.choice((1, -1)), f"S{rng.randrange(20)}"
        out.append(execution(seq, seq, symbol, sign * quantity, price, "0.35"))
    return out


def measure_cpu_s(ledger: Ledger, tape: Sequence[Execution]) -> float:
    started = time.process_time()
    for fill in tape:
        ledger.apply(fill)
    return time.process_time() - started


def round_trips(tape: list[Execution]) -> list[Execution]:
    """Buy and sell each trade again."""
    out: list[Execution] = []
    for fill in tape:
        out.append(fill._replace(seq=len(out) + 1, side=BUY))
        out.append(fill._replace(seq=len(out) + 1, side=SELL))
    return out


@pytest.mark.parametrize("method", ["fifo", "lifo", "hifo", "average"])
def test_executions_per_second(method: LotMethod, figure: RecordFigure) -> None:
    """The limit applies to entries and exits. A tape of scaling and reversals matches 1.8 lots per exit."""
    for name, tape, cost_max in (
        ("round trips", round_trips(executions(12_500)), EXECUTION_COST_MAX),
        ("scaling and reversals", executions(25_000), EXECUTION_COST_MAX / 0.6),
    ):
        best = min(measure_cpu_s(Ledger(Decimal(10**9), method=method), tape) for _ in range(3))
        figure(f"ledger, {method}, {name}", f"{len(tape) / best:,.0f} executions/s of processor time")
        assert best / len(tape) * 1e6 <= cost_max * decimal_us()


def test_neither_time_nor_state_grows_with_closed_trades(figure: RecordFigure) -> None:
    """Compare a new ledger with one of 100,000 trades and more on equal executions: best of five alternations."""
    tapes = round_trips(executions(100_000))
    blocks = [tapes[start : start + 20_000] for start in range(0, len(tapes), 20_000)]
    old_ledger = Ledger(Decimal(10**9))
    measure_cpu_s(old_ledger, blocks[0])
    size_before = len(pickle.dumps(old_ledger.snapshot()))
    for block in blocks[1:5]:
        measure_cpu_s(old_ledger, block)
    new_s, old_s = [], []
    for block in blocks[5:]:
        new_s.append(measure_cpu_s(Ledger(Decimal(10**9)), block))
        old_s.append(measure_cpu_s(old_ledger, block))
    ratio = min(old_s) / min(new_s)
    figure("ledger, 20,000 executions after 100,000 against none", f"{ratio:.2f} x the time")
    assert len(pickle.dumps(old_ledger.snapshot())) <= size_before + 100
    assert 1 / 3 < ratio < 3, "a cost linear in the history would be ten times as high"


def make_bars(slice_count: int) -> list[list[Bar]]:
    rng = random.Random(3)
    out = []
    for minute in range(1, slice_count + 1):
        prices = [round(50 + rng.random(), 2) for _ in range(20)]
        out.append([bar(f"S{n}", minute, minute * MINUTE, price, volume=100.0) for n, price in enumerate(prices)])
    return out


def test_portfolio_cost_of_a_bar_without_activity(figure: RecordFigure) -> None:
    time_slices = make_bars(4_000)
    durations_s = []
    for _ in range(3):
        stage = PortfolioStage()
        started = time.process_time()
        for minute, bars in enumerate(time_slices, start=1):
            stage.on_slice(minute * MINUTE, bars)
        durations_s.append(time.process_time() - started)
    cost_us = min(durations_s) / (len(time_slices) * 20) * 1e6
    figure("portfolio, a bar on which nothing happens", f"{cost_us:.2f} us of processor time")
    assert cost_us <= BAR_COST_MAX * decimal_us()
