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
from schemas.records import Bar, FeatureRow
from tests.builders import bar, command

SPECS = ("ema_3", "rsi_2", "bollinger_4_2", "vwap")
SYMBOLS = ("AAPL", "MSFT", "SPY")
MINUTE_NS = 60_000_000_000


def bars_by_minute(count: int, symbols: tuple[str, ...] = SYMBOLS, seed: int = 1) -> list[list[Bar]]:
    """Build one bar per symbol and minute. The prices of a symbol depend only on its name and the seed."""
    minutes: list[list[Bar]] = [[] for _ in range(count)]
    for symbol in symbols:
        rng = random.Random(f"{symbol}{seed}")
        close = 100.0
        for index in range(count):
            traded = rng.random() > 0.2
            open_price = close
            close = close * math.exp(rng.gauss(0, 1e-3)) if traded else close
            minutes[index].append(
                bar(
                    symbol,
                    index + 1,
                    (index + 1) * MINUTE_NS,
                    close,
                    open=open_price,
                    volume=float(rng.randint(1, 99)) if traded else 0.0,
                    day=20260105,
                    traded=traded,
                )
            )
    return minutes


def rows_of(stage: FeatureStage, minutes: list[list[Bar]]) -> list[Any]:
    return [row for minute_bars in minutes for row in stage.on_slice(minute_bars[0].ts_ns, minute_bars)]


def test_every_bar_gives_one_row_traded_or_not() -> None:
    minutes = bars_by_minute(40)
    assert any(not bar.traded for minute_bars in minutes for bar in minute_bars)
    rows = rows_of(FeatureStage(SPECS), minutes)
    bars = [bar for minute_bars in minutes for bar in minute_bars]
    assert [(row.symbol, row.bar_seq, row.ts_ns, row.close) for row in rows] == [
        (bar.symbol, bar.seq, bar.ts_ns, bar.close) for bar in bars
    ]
    assert all(type(row) is FeatureRow for row in rows)


def test_row_seq_counts_per_symbol_independently_of_bar_seq() -> None:
    minutes = [[bar._replace(seq=bar.seq + 100) for bar in minute_bars] for minute_bars in bars_by_minute(5)]
    rows = rows_of(FeatureStage(SPECS), minutes)
    for symbol in SYMBOLS:
        assert [(row.seq, row.bar_seq) for row in rows if row.symbol == symbol] == [(n, n + 100) for n in range(1, 6)]


def test_values_are_those_of_each_symbols_own_indicators() -> None:
    minutes = bars_by_minute(30)
    rows = rows_of(FeatureStage(SPECS), minutes)
    for symbol in SYMBOLS:
        indicators = [build(spec) for spec in SPECS]
        bars = [bar for minute_bars in minutes for bar in minute_bars if bar.symbol == symbol]
        for one, row in zip(bars, [row for row in rows if row.symbol == symbol], strict=True):
            expected: dict[str, float] = {}
            for indicator in indicators:
                indicator.update(one, expected)
            assert row.values == expected


def test_a_row_does_not_change_after_it_was_returned() -> None:
    minutes = bars_by_minute(20)
    stage = FeatureStage(SPECS)
    rows_and_copies = [(row, copy.deepcopy(row)) for row in rows_of(stage, minutes[:10])]
    rows_of(stage, minutes[10:])
    assert all(row == row_copy for row, row_copy in rows_and_copies)


def test_empty_slice_and_other_records_give_no_rows() -> None:
    stage = FeatureStage(SPECS)
    assert stage.on_slice(MINUTE_NS, []) == []
    assert stage.on_slice(2 * MINUTE_NS, [command("c-1", MINUTE_NS)]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.permutations(SYMBOLS))
def test_rows_do_not_depend_on_batches_or_other_symbols(sizes: list[int], order: list[str]) -> None:
    minutes = bars_by_minute(25)
    expected = rows_of(FeatureStage(SPECS), minutes)
    bars = [bar for symbol in order for minute_bars in minutes for bar in minute_bars if bar.symbol == symbol]
    stage = FeatureStage(SPECS)
    rows: list[Any] = []
    index = 0
    while index < len(bars):
        size = sizes[len(rows) % len(sizes)]
        rows += stage.on_slice(bars[index].ts_ns, bars[index : index + size])
        index += size
    # The first two fields of a row are symbol and seq.
    assert sorted(rows, key=lambda row: row[:2]) == sorted(expected, key=lambda row: row[:2])


def test_restart_after_any_slice_changes_no_row_or_snapshot() -> None:
    minutes = bars_by_minute(40)
    expected = rows_of(FeatureStage(SPECS), minutes)
    stage = FeatureStage(SPECS)
    for cut in range(len(minutes)):
        snapshot = stage.snapshot()
        text = repr(snapshot)
        restored = FeatureStage(SPECS)
        restored.restore(snapshot)
        assert rows_of(restored, minutes[cut:]) == expected[cut * len(SYMBOLS) :]
        assert restored.snapshot() != snapshot
        stage.on_slice(minutes[cut][0].ts_ns, minutes[cut])
        assert repr(snapshot) == text


def test_a_snapshot_is_plain_data_with_its_version_first() -> None:
    stage = FeatureStage(SPECS)
    rows_of(stage, bars_by_minute(10))
    snapshot = stage.snapshot()
    assert snapshot[0] == 6

    def plain(value: Any) -> bool:
        if type(value) is dict:
            return all(type(key) is str and plain(one) for key, one in value.items())
        if type(value) in (tuple, list):
            return all(map(plain, value))
        return value is None or type(value) in (int, float, str)

    assert plain(snapshot)


def test_snapshot_of_an_unknown_version_stops_the_worker() -> None:
    with pytest.raises(AssertionError, match="version 99"):
        FeatureStage(SPECS).restore((99, (), {}))


def test_after_a_change_of_settings_old_indicators_continue_and_new_ones_warm_up() -> None:
    minutes = bars_by_minute(40)
    before = FeatureStage(("ema_3", "sma_2"))
    rows_of(before, minutes[:20])
    after = FeatureStage(("sma_5", "ema_3"))
    after.restore(before.snapshot())
    rows = rows_of(after, minutes[20:])
    uninterrupted = rows_of(FeatureStage(("ema_3",)), minutes)[20 * len(SYMBOLS) :]
    assert [row.values["ema_3"] for row in rows] == [row.values["ema_3"] for row in uninterrupted]
    assert [row.seq for row in rows] == [row.seq for row in uninterrupted]
    assert [("sma_5" in row.values) for row in rows] == [False] * 4 * len(SYMBOLS) + [True] * 16 * len(SYMBOLS)
    assert all("sma_2" not in row.values for row in rows)


def test_duplicate_spec_is_computed_once_and_unknown_spec_is_rejected() -> None:
    assert FeatureStage(("ema_3", "rsi_2", "ema_3")).specs == ("ema_3", "rsi_2")
    with pytest.raises(BadInput, match="unknown indicator 'magic_8'"):
        FeatureStage(("ema_3", "magic_8"))


def test_without_any_spec_rows_still_carry_the_close() -> None:
    rows = rows_of(FeatureStage(()), bars_by_minute(3))
    assert [row.values for row in rows] == [{}] * 9
