"""The latency of a risk decision with a large book, and the cost of an unrelated bar in risk and venue."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

import pytest

from operators.risk import RiskSettings, RiskStage
from operators.venue import VenueSettings, VenueStage
from schemas.records import (
    BUY,
    CANCELED,
    GTC,
    SELL,
    Bar,
    Order,
    Record,
    Side,
)
from tests.builders import bar, execution, order, proposal, report
from tests.performance.conftest import RecordFigure
from tests.performance.reference_speed import decimal_us

DECISION_COST_P99_MAX = 5_000
BAR_COST_MAX = 15
"""In multiples of `decimal_us`."""
POSITIONS, OPEN_ORDERS, DECISIONS = 500, 200, 500
MINUTE = 60 * 10**9
ZERO = Decimal(0)


def minute_bar(symbol: str, seq: int, price: float) -> Bar:
    return bar(symbol, seq, seq * MINUTE, price, high=price + 1, low=price - 1, volume=1e4)


def full_portfolio(over_all_symbols: bool) -> tuple[RiskStage, list[str]]:
    """Return the symbols and a risk stage with limits, 500 positions and 200 open orders, in all symbols or in one."""
    limit = Decimal(10**9)
    limits = RiskSettings(
        initial_capital=limit,
        max_order_notional=limit,
        max_position=limit,
        max_position_size=limit,
        max_portfolio_leverage=Decimal(2),
        max_daily_loss=limit,
        stale_price_s=Decimal(600),
    )
    stage, symbols = RiskStage(limits), [f"S{n:03}" for n in range(POSITIONS)]
    stage.on_slice(MINUTE, [minute_bar(symbol, 1, 100.0 + n / 7) for n, symbol in enumerate(symbols)])
    stage.on_slice(
        MINUTE + 1,
        [execution(n, MINUTE, symbol, 100 if n % 3 else -100, 100) for n, symbol in enumerate(symbols, 1)],
    )
    for n in range(OPEN_ORDERS):
        symbol = symbols[2 * n] if over_all_symbols else "S001"
        resting = proposal(BUY, 10, symbol, seq=n, time_in_force=GTC, limit_price=90)
        [approved] = stage.on_slice(MINUTE + 2 + n, [resting])
        assert isinstance(approved, Order)
    return stage, symbols


def decision_us(over_all_symbols: bool) -> list[float]:
    """Return the CPU time of each decision in µs. Each time slice has one order: decisions share no work."""
    stage, symbols = full_portfolio(over_all_symbols)
    durations_us = []
    for n in range(DECISIONS):
        symbol = symbols[7 * n % POSITIONS] if over_all_symbols else "S001"
        side: Side = SELL if n % 2 else BUY
        limit = None if n % 3 else 95 if side == BUY else 200
        proposed = proposal(side, 10, symbol, seq=1000 + n, time_in_force=GTC, limit_price=limit)
        started = time.process_time_ns()
        [approved] = stage.on_slice(2 * MINUTE + n, [proposed])
        durations_us.append((time.process_time_ns() - started) / 1000)
        assert isinstance(approved, Order), approved
        stage.on_slice(2 * MINUTE + n, [report(n, approved, CANCELED)])
    return durations_us


@pytest.mark.parametrize("spread", [True, False], ids=["over all symbols", "in one symbol"])
def test_latency_of_a_risk_decision(spread: bool, figure: RecordFigure) -> None:
    """The best of ten rounds for each decision shows the cost of the code without other load on the machine.

    A whole round without interruption is rare on a busy machine.
    """
    rounds = [decision_us(spread) for _ in range(10)]
    best_us = sorted(map(min, zip(*rounds, strict=True)))
    p50, p99 = best_us[DECISIONS // 2], best_us[DECISIONS * 99 // 100]
    where = "over all symbols" if spread else "in one"
    figure(f"risk decision, 500 positions, 200 orders {where}", f"p50 {p50:.0f} µs, p99 {p99:.0f} µs")
    assert p99 < DECISION_COST_P99_MAX * decimal_us()


def test_cost_of_a_bar_in_an_unaffected_symbol(figure: RecordFigure) -> None:
    time_slices = [[minute_bar(f"S{n}", seq, 100.0) for n in range(20)] for seq in range(1, 2_001)]
    risk, venue = RiskStage(RiskSettings.unlimited()), VenueStage(VenueSettings())
    other_symbol_venue = VenueStage(VenueSettings())
    other_symbol_venue.on_slice(1, [order(1, quantity=1, symbol="ZZ", time_in_force=GTC)])
    stages: list[tuple[str, Callable[..., list[Record]]]] = [
        ("risk", risk.on_slice),
        ("venue without orders", venue.on_slice),
        ("venue with an order in another symbol", other_symbol_venue.on_slice),
    ]
    for name, on_slice in stages:
        best_us = float("inf")
        for round_number in range(3):
            started = time.process_time()
            for number, bars in enumerate(time_slices):
                on_slice(round_number * 10**6 + number, bars)
            best_us = min(best_us, (time.process_time() - started) / 40_000 * 1e6)
        figure(f"a bar through {name}", f"{best_us * 1000:.0f} ns")
        assert best_us < BAR_COST_MAX * decimal_us()
