from __future__ import annotations

import copy
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.features import FeatureStage
from operators.indicators import build
from schemas.errors import BadInput
from schemas.records import Bar, Command, FeatureRow

SPECS = ("ema_3", "rsi_2", "bollinger_4_2", "vwap")
SYMBOLS = ("AAPL", "MSFT", "SPY")
MINUTE = 60_000_000_000


def ticks_of(count: int, symbols: tuple[str, ...] = SYMBOLS, seed: int = 1) -> list[list[Bar]]:
    """Minute by minute one bar of each symbol; each symbol's prices depend on its name alone."""
    ticks: list[list[Bar]] = [[] for _ in range(count)]
    for symbol in symbols:
        rng = random.Random(f"{symbol}{seed}")
        close = 100.0
        for place in range(count):
            traded = rng.random() > 0.2
            opened = close
            close = close * math.exp(rng.gauss(0, 1e-3)) if traded else close
            ts_ns = (place + 1) * MINUTE
            ticks[place].append(
                Bar(
                    symbol, place + 1, ts_ns, ts_ns - MINUTE, opened, max(opened, close), min(opened, close), close,
                    float(rng.randint(1, 99)) if traded else 0.0, "REGULAR", 20260105, traded,
                )
            )  # fmt: skip
    return ticks


def rows_of(stage: FeatureStage, ticks: list[list[Bar]]) -> list[Any]:
    return [row for tick in ticks for row in stage.on_tick(tick[0].ts_ns, tick)]


def test_every_bar_gives_one_row_traded_or_not() -> None:
    ticks = ticks_of(40)
    assert any(not bar.traded for tick in ticks for bar in tick)
    rows = rows_of(FeatureStage(SPECS), ticks)
    bars = [bar for tick in ticks for bar in tick]
    assert [(row.symbol, row.bar_seq, row.ts_ns, row.close) for row in rows] == [
        (bar.symbol, bar.seq, bar.ts_ns, bar.close) for bar in bars
    ]
    assert all(type(row) is FeatureRow for row in rows)


def test_seq_counts_within_a_symbol_whatever_the_bars_seq() -> None:
    ticks = [[bar._replace(seq=bar.seq + 100) for bar in tick] for tick in ticks_of(5)]
    rows = rows_of(FeatureStage(SPECS), ticks)
    for symbol in SYMBOLS:
        assert [(row.seq, row.bar_seq) for row in rows if row.symbol == symbol] == [(n, n + 100) for n in range(1, 6)]


def test_values_are_those_of_each_symbols_own_indicators() -> None:
    ticks = ticks_of(30)
    rows = rows_of(FeatureStage(SPECS), ticks)
    for symbol in SYMBOLS:
        indicators = [build(spec) for spec in SPECS]
        bars = [bar for tick in ticks for bar in tick if bar.symbol == symbol]
        for bar, row in zip(bars, [row for row in rows if row.symbol == symbol], strict=True):
            expected: dict[str, float] = {}
            for indicator in indicators:
                indicator.update(bar, expected)
            assert row.values == expected


def test_a_row_does_not_change_after_it_was_given_out() -> None:
    ticks = ticks_of(20)
    stage = FeatureStage(SPECS)
    given_out = [(row, copy.deepcopy(row)) for row in rows_of(stage, ticks[:10])]
    rows_of(stage, ticks[10:])
    assert all(row == kept for row, kept in given_out)


def test_an_empty_tick_and_other_records_give_nothing() -> None:
    stage = FeatureStage(SPECS)
    assert stage.on_tick(MINUTE, []) == []
    command = Command("c-1", MINUTE, "KILL_SWITCH", "ops", "test", {})
    assert stage.on_tick(2 * MINUTE, [command]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.permutations(SYMBOLS))
def test_rows_do_not_depend_on_batches_or_on_the_company_of_other_symbols(sizes: list[int], order: list[str]) -> None:
    ticks = ticks_of(25)
    expected = rows_of(FeatureStage(SPECS), ticks)
    bars = [bar for symbol in order for tick in ticks for bar in tick if bar.symbol == symbol]
    stage = FeatureStage(SPECS)
    got: list[Any] = []
    place = 0
    while place < len(bars):
        size = sizes[len(got) % len(sizes)]
        got += stage.on_tick(bars[place].ts_ns, bars[place : place + size])
        place += size
    # (symbol, seq) come first in a row.
    assert sorted(got, key=lambda row: row[:2]) == sorted(expected, key=lambda row: row[:2])


def test_a_restart_after_any_tick_changes_no_row_and_the_snapshot_stays_as_it_was() -> None:
    ticks = ticks_of(40)
    expected = rows_of(FeatureStage(SPECS), ticks)
    stage = FeatureStage(SPECS)
    for cut in range(len(ticks)):
        snapshot = stage.snapshot()
        text = repr(snapshot)
        restored = FeatureStage(SPECS)
        restored.restore(snapshot)
        assert rows_of(restored, ticks[cut:]) == expected[cut * len(SYMBOLS) :]
        assert restored.snapshot() != snapshot
        stage.on_tick(ticks[cut][0].ts_ns, ticks[cut])
        assert repr(snapshot) == text


def test_a_snapshot_is_plain_data_with_its_version_first() -> None:
    stage = FeatureStage(SPECS)
    rows_of(stage, ticks_of(10))
    snapshot = stage.snapshot()
    assert snapshot[0] == 2

    def plain(value: Any) -> bool:
        if type(value) is dict:
            return all(type(key) is str and plain(one) for key, one in value.items())
        if type(value) in (tuple, list):
            return all(map(plain, value))
        return value is None or type(value) in (int, float, str)

    assert plain(snapshot)


def test_a_snapshot_of_a_version_to_come_stops_the_worker() -> None:
    with pytest.raises(AssertionError, match="version 99"):
        FeatureStage(SPECS).restore((99, (), {}))


def test_after_a_change_of_settings_old_indicators_go_on_and_new_ones_warm_up() -> None:
    ticks = ticks_of(40)
    before = FeatureStage(("ema_3", "sma_2"))
    rows_of(before, ticks[:20])
    after = FeatureStage(("sma_5", "ema_3"))
    after.restore(before.snapshot())
    rows = rows_of(after, ticks[20:])
    uninterrupted = rows_of(FeatureStage(("ema_3",)), ticks)[20 * len(SYMBOLS) :]
    assert [row.values["ema_3"] for row in rows] == [row.values["ema_3"] for row in uninterrupted]
    assert [row.seq for row in rows] == [row.seq for row in uninterrupted]
    assert [("sma_5" in row.values) for row in rows] == [False] * 4 * len(SYMBOLS) + [True] * 16 * len(SYMBOLS)
    assert all("sma_2" not in row.values for row in rows)


def test_a_spec_that_stands_twice_is_computed_once_and_a_wrong_one_is_refused_at_once() -> None:
    assert FeatureStage(("ema_3", "rsi_2", "ema_3")).specs == ("ema_3", "rsi_2")
    with pytest.raises(BadInput, match="known are"):
        FeatureStage(("ema_3", "magic_8"))


def test_without_any_spec_rows_still_carry_the_close() -> None:
    rows = rows_of(FeatureStage(()), ticks_of(3))
    assert [row.values for row in rows] == [{}] * 9
