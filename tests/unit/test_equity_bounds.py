"""A time slice that skips the exact equity, because no breaker can trip, changes no decision of the breakers."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from operators.risk import RiskSettings, RiskStage
from operators.risk.book import RiskBook
from operators.risk.breakers import Breaker
from operators.risk.equity_bounds import EquityBounds
from schemas.records import Record
from tests.builders import bar, execution
from tests.unit.risk_check_cases import NOW_NS

D = Decimal
BREAKERS = [
    Breaker(measure="daily_loss", threshold=D(60), cool_down_s=5),
    Breaker(measure="day_fall", threshold=D("0.006"), cool_down_s=5),
    Breaker(measure="drawdown", threshold=D("0.008"), cool_down_s=5),
]


def walk(stage: RiskStage, seed: int) -> list[list[Record]]:
    """Return the outputs of a stage for a random walk of two prices, with a trade at times."""
    rng, prices, output = random.Random(seed), {"A": 100.0, "B": 50.0}, []
    for number in range(1, 300):
        ts_ns = NOW_NS + number * 10**9
        prices = {symbol: round(price + rng.gauss(0, 0.3), 2) for symbol, price in prices.items()}
        records: list[Record] = []
        if number % 20 == 1:
            symbol = rng.choice("AB")
            records.append(execution(number, ts_ns, symbol, rng.choice((-20, 10, 20)), prices[symbol]))
        day = 20240101 + number // 100
        records += [bar(symbol, number, ts_ns, price, day=day) for symbol, price in prices.items()]
        output.append(stage.on_slice(ts_ns, records))
    return output


@pytest.mark.parametrize("seed", range(5))
def test_breakers_trip_and_reset_as_if_every_equity_were_exact(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage() -> RiskStage:
        return RiskStage(RiskSettings.unlimited(initial_capital=D(10_000), breakers=tuple(BREAKERS)))

    skipped: list[bool] = []
    contain = EquityBounds.contain

    def count(bounds: EquityBounds, book: RiskBook, net: float, peak: Decimal) -> bool:
        skipped.append(contain(bounds, book, net, peak))
        return skipped[-1]

    monkeypatch.setattr(EquityBounds, "contain", count)
    bounded = stage()
    output = walk(bounded, seed)
    monkeypatch.setattr(EquityBounds, "contain", lambda *_: False)
    exact = stage()
    assert output == walk(exact, seed)
    assert bounded.snapshot() == exact.snapshot()
    assert any(skipped) and any(records for records in output), "some time slices skip the equity, some breakers trip"


@pytest.mark.parametrize(("net", "expected"), [(900.0, True), (500.0, False), (1_000.0, False)])
def test_bounds_end_before_the_threshold_and_the_peak(net: float, expected: bool) -> None:
    stage = RiskStage(RiskSettings.unlimited(initial_capital=D(10_000)))
    stage.book.cash = D(9_000)
    bounds = EquityBounds([Breaker(measure="day_fall", threshold=D("0.05"))])
    assert bounds.contain(stage.book, net, D(10_000)) is expected
