"""The simulator: the same bars for the same seed whatever the pace, restarts without a gap in `seq`."""

from __future__ import annotations

import pytest

from dataflows.sources.simulator import REPLAY_NS, PricePath, Simulator
from operators.stage import Tick
from schemas.errors import BadInput
from schemas.records import Bar

SECOND = 10**9
START = 1_700_000_000 * SECOND
SYMBOLS = ("AAPL", "MSFT", "SPY")


class VirtualClock:
    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def bars(ticks: list[Tick]) -> list[Bar]:
    return [record for tick in ticks for record in tick.records if isinstance(record, Bar)]


def test_ticks_come_when_the_clock_has_passed_them_and_not_before() -> None:
    clock = VirtualClock(START + SECOND // 2)
    simulator = Simulator(SYMBOLS, 1, now_ns=clock)
    assert simulator.take(10) == []
    assert simulator.due_ns() == START + SECOND
    clock.now_ns = START + SECOND
    assert [tick.ts_ns for tick in simulator.take(10)] == [START + SECOND]
    clock.now_ns = START + 4 * SECOND + 7
    assert [tick.ts_ns for tick in simulator.take(2)] == [START + 2 * SECOND, START + 3 * SECOND]
    assert [tick.ts_ns for tick in simulator] == [START + 4 * SECOND]


def test_bars_do_not_depend_on_the_pace() -> None:
    clock = VirtualClock(START)
    paced: list[Tick] = []
    simulator = Simulator(SYMBOLS, 1, now_ns=clock)
    while len(paced) < 200:
        clock.now_ns += 700_000_000
        paced += simulator.take(3)
    fast = list(Simulator(SYMBOLS, 1, start_ns=START, fast=True, end_after_ticks=len(paced)))
    assert paced == fast
    assert list(Simulator(SYMBOLS, 2, start_ns=START, fast=True, end_after_ticks=len(paced))) != fast


def test_another_symbol_does_not_change_the_others() -> None:
    alone = bars(list(Simulator(["SPY"], 1, start_ns=START, fast=True, end_after_ticks=50)))
    among = bars(list(Simulator(SYMBOLS, 1, start_ns=START, fast=True, end_after_ticks=50)))
    assert alone == [bar for bar in among if bar.symbol == "SPY"]


def test_bars_are_sound_and_some_minutes_are_quiet() -> None:
    found = bars(list(Simulator(SYMBOLS, 3, start_ns=START, fast=True, end_after_ticks=3000)))
    assert all(0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in found)
    assert all((bar.volume > 0) == bar.traded for bar in found)
    assert 0.02 < sum(not bar.traded for bar in found) / len(found) < 0.06
    moves = [abs(b.close / a.close - 1) for a, b in zip(found[::3], found[3::3], strict=False)]
    assert 2e-5 < sum(moves) / len(moves) < 5e-4
    assert max(moves) < 0.01


def test_averages_cross_within_a_minute_of_one_second_bars() -> None:
    """Twenty symbols over five minutes: EMA(12) crosses EMA(26) more than twice a minute and symbol."""
    symbols, ticks, crosses = [f"S{n}" for n in range(20)], 300, 0
    for symbol in symbols:
        path = PricePath(5, symbol)
        quick = slow = path.price(START // SECOND)
        above = None
        for index in range(START // SECOND, START // SECOND + ticks):
            quick += (path.price(index) - quick) * 2 / 13
            slow += (path.price(index) - slow) * 2 / 27
            crosses += above is not None and above != (quick > slow)
            above = quick > slow
    assert crosses > 2 * (ticks / 60) * len(symbols)


def test_a_crash_after_any_tick_gives_the_same_records() -> None:
    clock = VirtualClock(START)
    whole = list(Simulator(SYMBOLS, 1, start_ns=START, fast=True, end_after_ticks=40))
    for stop in range(40):
        clock.now_ns = START + stop * SECOND
        first = Simulator(SYMBOLS, 1, now_ns=clock, start_ns=START)
        assert first.take(100) == whole[:stop]
        state = first.state()
        clock.now_ns = START + 40 * SECOND
        first.take(100)  # given out after the snapshot, then lost with the process
        assert Simulator(SYMBOLS, 1, now_ns=clock).resume(state).take(100) == whole[stop:]


def test_time_off_is_absent_beyond_the_last_minute_and_seq_goes_on() -> None:
    clock = VirtualClock(START)
    simulator = Simulator(SYMBOLS, 1, now_ns=clock)
    clock.now_ns += 10 * SECOND
    before = simulator.take(100)
    clock.now_ns += 3600 * SECOND
    after = Simulator(SYMBOLS, 1, now_ns=clock).resume(simulator.state()).take(1000)
    replayed = REPLAY_NS // SECOND
    assert [t.ts_ns for t in after[:replayed]] == [START + (11 + n) * SECOND for n in range(replayed)]
    assert [tick.ts_ns for tick in after[replayed:]] == [clock.now_ns]
    seqs = [bar.seq for bar in bars(before + after) if bar.symbol == "SPY"]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("arguments", [{"symbols": []}, {"symbols": ["A", "A"]}, {"interval_s": 7}, {"interval_s": 0}])
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Simulator(**{"symbols": ["A"], "seed": 1} | arguments)  # type: ignore[arg-type]
