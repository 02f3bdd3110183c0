"""Tapes of minute bars for tests of trading strategies, made by seeded generators, and runs over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

from operators.decision_hash import DecisionHash
from operators.strategies import TradingStrategy
from operators.trading.sessions import SessionTimes
from schemas.records import Bar
from tests.builders import bar
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import MINUTE_NS, OPEN_NS, session

DAY_NS = 86_400 * 10**9
Prices = Sequence[Mapping[str, float]]
"""The close of each symbol by minute."""


class StrategyTape(NamedTuple):
    """Time slices with their end, and the trading hours of their days."""

    slices: list[tuple[int, list[Bar]]]
    days: dict[int, SessionTimes]


def tape_of(prices: Prices, minutes_per_day: int = 390) -> StrategyTape:
    """Return a tape with one bar per symbol and minute. Each bar opens at the close of the bar before."""
    slices: list[tuple[int, list[Bar]]] = []
    days: dict[int, SessionTimes] = {}
    before: dict[str, float] = {}
    first = date(2024, 1, 2)
    for index, closes in enumerate(prices):
        weekday, number = divmod(index, minutes_per_day)
        offset = weekday + 2 * ((weekday + 1) // 5)  # 2 January 2024 is a Tuesday; there is no weekend session
        one = first + timedelta(days=offset)
        day = one.year * 10_000 + one.month * 100 + one.day
        open_ns = OPEN_NS + offset * DAY_NS
        days.setdefault(day, session(day, open_ns=open_ns, minutes=minutes_per_day))
        ts_ns = open_ns + (number + 1) * MINUTE_NS
        bars = [
            bar(symbol, index + 1, ts_ns, close, open=before.get(symbol, close), volume=1e6, day=day)
            for symbol, close in sorted(closes.items())
        ]
        slices.append((ts_ns, bars))
        before.update(closes)
    return StrategyTape(slices, days)


def path(changes: Sequence[float], *, start: float = 100.0, noise: float = 0.0, seed: int = 1) -> list[float]:
    """Return prices, rounded to cents, that change by each of `changes` plus Gaussian noise (both as a share)."""
    random, price, prices = Random(seed), start, []
    for change in changes:
        price *= 1 + change + random.gauss(0, noise)
        prices.append(round(price, 2))
    return prices


def white_noise(symbols: Sequence[str], count: int, *, seed: int, sigma: float = 0.002) -> Prices:
    """Return prices of independent random walks with `sigma` per minute."""
    paths = [path([0.0] * count, noise=sigma, seed=100 * seed + index) for index in range(len(symbols))]
    return [dict(zip(symbols, closes, strict=True)) for closes in zip(*paths, strict=True)]


def run_unchecked(strategy: TradingStrategy, tape: StrategyTape) -> TradingDesk:
    """Run a strategy over a tape."""
    desk = TradingDesk(strategy, days=tape.days)
    for ts_ns, bars in tape.slices:
        desk.on_slice(ts_ns, bars)
    return desk


def run(strategy: TradingStrategy, tape: StrategyTape) -> TradingDesk:
    """Run a strategy over a tape, and check that it did not fail and that no order was refused."""
    desk = run_unchecked(strategy, tape)
    desk.check()
    return desk


def profit(desk: TradingDesk) -> float:
    """Return the equity of the strategy less its capital."""
    account = desk.strategies.accounts()[0]
    return float(account.equity) - 100_000


def decision_hash(desk: TradingDesk) -> str:
    total = DecisionHash()
    for record in desk.records:
        total.add(record)
    return total.hexdigest()


def check_restores(create: Callable[[], TradingStrategy], tape: StrategyTape, *, restores: int = 4) -> None:
    """Assert that a second run, and one restored from a snapshot at several time slices, write the same records."""
    expected = run(create(), tape)
    assert expected.trades(), "the tape makes the strategy trade"
    assert decision_hash(run(create(), tape)) == decision_hash(expected)
    desk, records = TradingDesk(create(), days=tape.days), []
    step = len(tape.slices) // (restores + 1)
    for index, (ts_ns, bars) in enumerate(tape.slices):
        if index and index % step == 0:
            snapshot = desk.snapshot()
            records += desk.records
            desk = TradingDesk(create(), days=tape.days)
            desk.restore(snapshot)
        desk.on_slice(ts_ns, bars)
    assert records + desk.records == expected.records
