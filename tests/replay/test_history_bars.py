"""Bars before the start warm up indicators and strategies, alike in the services, the fused backtest and a replay."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import time
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from dataflows.replay.recorded_feed import RecordedFeed, RecordedPeriod
from dataflows.sources.feed_selection import files_source
from operators.stage import TimeSlice
from schemas.records import Bar, FeatureRow, HistoryBar, HistoryRow, Record, Signal, StrategyAction
from tests import history_strategies
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import check_staged_services, fused_hash, pinned_settings, replay, run_restored_in_every_slice

BARS_BEFORE = 50
OPEN, START = "2024-03-11T13:30:00Z", "2024-03-11T14:30:00Z"


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The pinned settings, with a trading strategy that acts on the first bar."""
    settings = pinned_settings().for_backtest()
    entry = StrategyEntry(name=f"{history_strategies.__file__}:BuyOnFirstBar")
    strategies = (*settings.signals.strategies, entry)
    return settings.model_copy(update={"signals": settings.signals.model_copy(update={"strategies": strategies})})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The first two hours of the regular session of a day."""
    return write_market(tmp_path_factory.mktemp("market"), days=[MONDAY], open_time=time(9, 30), minutes=120)


def read_slices(files: Sequence[Path], start: str | None, history_bars: int = BARS_BEFORE) -> list[TimeSlice]:
    feed_settings = replace(pinned_settings().market_data.files, start=start, session="regular")
    feed = files_source(feed_settings, files, history_bars=history_bars).open_feed()
    out: list[TimeSlice] = []
    while not feed.finished:
        out += feed.take(64)
    return out


@pytest.fixture(scope="module")
def time_slices(files: list[Path]) -> list[TimeSlice]:
    """Those of the second hour, with bars of the first one as history."""
    return read_slices(files, START)


@pytest.fixture(scope="module")
def replayed(settings: Settings, time_slices: list[TimeSlice]) -> list[list[Record]]:
    return replay(settings, time_slices)


def of_type(kind: type, outputs: Sequence[Sequence[Record]]) -> list[Any]:
    return [record for out in outputs for record in out if type(record) is kind]


def test_the_first_time_slice_holds_the_last_bars_before_the_start(
    files: list[Path], time_slices: list[TimeSlice]
) -> None:
    first = time_slices[0]
    earlier = [bar for t in read_slices(files, None) for bar in t.records if type(bar) is Bar and t.ts_ns < first.ts_ns]
    history = [record for record in first.records if type(record) is HistoryBar]
    assert not any(type(record) is HistoryBar for t in time_slices[1:] for record in t.records)
    for symbol in ("AAA", "BBB", "CCC", "DDD"):
        expected = [bar for bar in earlier if bar.symbol == symbol][-BARS_BEFORE:]
        found = [record for record in history if record.symbol == symbol]
        assert [record.to_bar()._replace(seq=0) for record in found] == [bar._replace(seq=0) for bar in expected]
        assert [record.seq for record in found] == list(range(1, len(found) + 1))
        assert {record.ts_ns for record in found} == {first.ts_ns}


def test_indicators_are_warm_at_the_first_bar(settings: Settings, replayed: list[list[Record]]) -> None:
    rows = [row for row in replayed[0] if type(row) is FeatureRow]
    assert rows and all("ema_3" in row.values for row in rows)
    history = [row for row in replayed[0] if type(row) is HistoryRow]
    assert {row.symbol for row in history} == {"AAA", "BBB", "CCC", "DDD"}


def test_nothing_trades_on_history(replayed: list[list[Record]], time_slices: list[TimeSlice]) -> None:
    first_bars = {bar.symbol: bar.ts_ns for t in reversed(time_slices) for bar in t.records if type(bar) is Bar}
    signals, actions = of_type(Signal, replayed), of_type(StrategyAction, replayed)
    assert signals and actions
    assert all(signal.ts_ns >= first_bars[signal.symbol] for signal in signals)
    assert all(action.ts_ns >= time_slices[0].ts_ns for action in actions)


def test_a_strategy_has_its_history_at_the_first_bar(replayed: list[list[Record]]) -> None:
    actions = [action for action in replayed[0] if type(action) is StrategyAction]
    assert [action.kind for action in actions] == ["TARGET_WEIGHT"]


@pytest.mark.parametrize(("partitions", "crash_rate"), [(1, 0.0), (3, 0.02)])
def test_staged_services_write_the_records_of_the_replay(
    settings: Settings,
    time_slices: list[TimeSlice],
    replayed: list[list[Record]],
    partitions: int,
    crash_rate: float,
) -> None:
    check_staged_services(settings, time_slices, replayed, partitions=partitions, crash_rate=crash_rate)


def test_the_number_of_shards_changes_nothing(settings: Settings, time_slices: list[TimeSlice]) -> None:
    assert fused_hash(time_slices, settings=settings, shards=3) == fused_hash(time_slices, settings=settings)


def test_a_run_restored_after_any_slice_writes_the_same_records(
    settings: Settings, time_slices: list[TimeSlice], replayed: list[list[Record]]
) -> None:
    assert run_restored_in_every_slice(settings, time_slices) == replayed


def test_without_bars_before_the_start_nothing_changes(files: list[Path]) -> None:
    assert read_slices(files, OPEN) == read_slices(files, None, 0)


def test_without_a_start_there_is_no_history(files: list[Path]) -> None:
    assert read_slices(files, None) == read_slices(files, None, 0)


def test_a_recording_gives_the_history_of_its_files(files: list[Path], time_slices: list[TimeSlice]) -> None:
    recorded = read_slices(files, None, 0)
    start_ns = time_slices[0].ts_ns - 60_000_000_000

    def open_slices() -> Generator[TimeSlice]:
        yield from recorded

    feed = RecordedFeed(open_slices, RecordedPeriod(start_ns=start_ns), 60_000_000_000, BARS_BEFORE)
    assert feed.take(1000) == time_slices
