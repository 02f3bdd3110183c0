"""The simulator: one seed produces the same bars at any pace, and a restart leaves no gap in `seq`."""

from __future__ import annotations

from decimal import Decimal

import pytest

from configs.settings import load_settings
from dataflows.replay.comparison import Pipeline
from dataflows.sources.simulator import CHOPPY, REPLAY_NS, PricePath, Simulator
from operators.performance import Performance
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import Bar, Trade
from tests.manual_clock import ManualClock

SECOND_NS = 10**9
START_NS = 1_700_000_000 * SECOND_NS
SYMBOLS = ("AAPL", "MSFT", "SPY")


def bars(time_slices: list[TimeSlice]) -> list[Bar]:
    return [record for time_slice in time_slices for record in time_slice.records if isinstance(record, Bar)]


def test_slices_are_due_only_after_the_clock_passes_them() -> None:
    clock = ManualClock(START_NS + SECOND_NS // 2)
    simulator = Simulator(SYMBOLS, 1, now_ns=clock)
    assert simulator.take(10) == []
    assert simulator.due_ns() == START_NS + SECOND_NS
    clock.now_ns = START_NS + SECOND_NS
    assert [time_slice.ts_ns for time_slice in simulator.take(10)] == [START_NS + SECOND_NS]
    clock.now_ns = START_NS + 4 * SECOND_NS + 7
    assert [time_slice.ts_ns for time_slice in simulator.take(2)] == [
        START_NS + 2 * SECOND_NS,
        START_NS + 3 * SECOND_NS,
    ]
    assert [time_slice.ts_ns for time_slice in simulator] == [START_NS + 4 * SECOND_NS]


def test_bars_do_not_depend_on_the_pace() -> None:
    clock = ManualClock(START_NS)
    paced: list[TimeSlice] = []
    simulator = Simulator(SYMBOLS, 1, now_ns=clock)
    while len(paced) < 200:
        clock.now_ns += 700_000_000
        paced += simulator.take(3)
    fast = list(Simulator(SYMBOLS, 1, start_ns=START_NS, fast=True, end_after_slices=len(paced)))
    assert paced == fast
    assert list(Simulator(SYMBOLS, 2, start_ns=START_NS, fast=True, end_after_slices=len(paced))) != fast


def test_another_symbol_does_not_change_the_others() -> None:
    alone = bars(list(Simulator(["SPY"], 1, start_ns=START_NS, fast=True, end_after_slices=50)))
    with_others = bars(list(Simulator(SYMBOLS, 1, start_ns=START_NS, fast=True, end_after_slices=50)))
    assert alone == [bar for bar in with_others if bar.symbol == "SPY"]


def test_bars_are_valid_and_some_minutes_have_no_trades() -> None:
    all_bars = bars(list(Simulator(SYMBOLS, 3, start_ns=START_NS, fast=True, end_after_slices=3000)))
    assert all(0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in all_bars)
    assert all((bar.volume > 0) == bar.traded for bar in all_bars)
    assert 0.02 < sum(not bar.traded for bar in all_bars) / len(all_bars) < 0.06
    moves = [abs(b.close / a.close - 1) for a, b in zip(all_bars[::3], all_bars[3::3], strict=False)]
    assert 2e-5 < sum(moves) / len(moves) < 5e-4
    assert max(moves) < 0.01


def test_default_strategy_trades_a_few_times_in_ten_minutes_and_covers_its_costs() -> None:
    """An hour of the demo of a new user: 54 minutes once lost more than half of the daily loss limit."""
    settings = load_settings(environment={})
    simulator = settings.market_data.simulator
    pipeline = Pipeline(settings)
    performance = Performance(settings.portfolio_manager.initial_capital)
    slices = Simulator(simulator.symbols, simulator.seed, start_ns=START_NS, fast=True, end_after_slices=3600)
    for time_slice in slices:
        records = [*time_slice.records, *pipeline.on_slice(time_slice.ts_ns, time_slice.records)]
        performance.on_slice(TimeSlice(time_slice.ts_ns, records))
    summary = performance.summary()
    assert 20 <= summary["orders"] <= 120
    assert Decimal(summary["fees"]) < 400
    assert Decimal(summary["final_equity"]) > settings.portfolio_manager.initial_capital - 500


def test_averages_cross_within_a_minute_of_one_second_bars_in_a_choppy_market() -> None:
    """For 20 symbols over five minutes, EMA(12) crosses EMA(26) more than twice per minute and symbol."""
    symbols, seconds, crosses = [f"S{n}" for n in range(20)], 300, 0
    for symbol in symbols:
        path = PricePath(5, symbol, CHOPPY)
        fast = slow = path.price(START_NS // SECOND_NS)
        above = None
        for index in range(START_NS // SECOND_NS, START_NS // SECOND_NS + seconds):
            fast += (path.price(index) - fast) * 2 / 13
            slow += (path.price(index) - slow) * 2 / 27
            crosses += above is not None and above != (fast > slow)
            above = fast > slow
    assert crosses > 2 * (seconds / 60) * len(symbols)


def test_the_trades_of_a_bar_have_its_prices_and_its_volume() -> None:
    time_slices = Simulator(SYMBOLS, 1, start_ns=START_NS, fast=True, end_after_slices=60, with_trades=True).take(60)
    low_first = set()
    for _, records in time_slices:
        trades = [one for one in records if type(one) is Trade]
        for one in bars([TimeSlice(0, records)]):
            own = [trade for trade in trades if trade.symbol == one.symbol]
            assert [trade.ts_ns for trade in own] == sorted(trade.ts_ns for trade in own)
            assert all(one.open_ns < trade.ts_ns < one.ts_ns for trade in own)
            if one.traded:
                prices = [trade.price for trade in own]
                assert (prices[0], max(prices), min(prices), prices[-1]) == (one.open, one.high, one.low, one.close)
                assert (len(own), sum(trade.size for trade in own)) == (4, one.volume)
                low_first.add(prices[1] < prices[2])
            else:
                assert own == []
    assert low_first == {True, False}
    seqs = [one.seq for _, records in time_slices for one in records if type(one) is Trade and one.symbol == "SPY"]
    assert seqs == list(range(1, len(seqs) + 1))
    without = Simulator(SYMBOLS, 1, start_ns=START_NS, fast=True, end_after_slices=60).take(60)
    assert bars(time_slices) == [record for _, records in without for record in records]


@pytest.mark.parametrize("with_trades", [False, True])
def test_a_crash_after_any_slice_gives_the_same_records(with_trades: bool) -> None:
    clock = ManualClock(START_NS)
    uninterrupted = list(
        Simulator(SYMBOLS, 1, start_ns=START_NS, fast=True, end_after_slices=40, with_trades=with_trades)
    )
    for stop in range(40):
        clock.now_ns = START_NS + stop * SECOND_NS
        first = Simulator(SYMBOLS, 1, now_ns=clock, start_ns=START_NS, with_trades=with_trades)
        assert first.take(100) == uninterrupted[:stop]
        state = first.state()
        clock.now_ns = START_NS + 40 * SECOND_NS
        first.take(100)  # produced after the snapshot, then lost with the process
        resumed = Simulator(SYMBOLS, 1, now_ns=clock, with_trades=with_trades).resume(state)
        assert resumed.take(100) == uninterrupted[stop:]


def test_downtime_beyond_the_last_minute_is_skipped_and_seq_continues() -> None:
    clock = ManualClock(START_NS)
    simulator = Simulator(SYMBOLS, 1, now_ns=clock)
    clock.now_ns += 10 * SECOND_NS
    before = simulator.take(100)
    clock.now_ns += 3600 * SECOND_NS
    after = Simulator(SYMBOLS, 1, now_ns=clock).resume(simulator.state()).take(1000)
    replayed = REPLAY_NS // SECOND_NS
    assert [t.ts_ns for t in after[:replayed]] == [START_NS + (11 + n) * SECOND_NS for n in range(replayed)]
    assert [time_slice.ts_ns for time_slice in after[replayed:]] == [clock.now_ns]
    seqs = [bar.seq for bar in bars(before + after) if bar.symbol == "SPY"]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("arguments", [{"symbols": []}, {"symbols": ["A", "A"]}, {"interval_s": 7}, {"interval_s": 0}])
def test_invalid_arguments_are_rejected(arguments: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Simulator(**{"symbols": ["A"], "seed": 1} | arguments)  # type: ignore[arg-type]
