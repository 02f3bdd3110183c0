"""Statistics of pairs are warm at the first bar after a start, alike in services, backtest and replay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time
from pathlib import Path

import pytest

from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from dataflows.replay.recorded_feed import RecordedFeed, RecordedPeriod
from dataflows.sources.feed_selection import file_history_bars, files_source
from operators.stage import TimeSlice
from schemas.records import NOTE, TRADE, Execution, HistoryBar, Record, StrategyAction
from tests import pair_strategy
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import check_staged_services, fused_hash, pinned_settings, replay, run_restored_in_every_slice

START = "2024-03-11T14:37:00Z"
"""In the middle of a bar of five minutes."""
MINUTE_NS = 60_000_000_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The first hundred minutes of the regular session of a day."""
    return write_market(tmp_path_factory.mktemp("market"), days=[MONDAY], open_time=time(9, 30), minutes=100)


@pytest.fixture(scope="module")
def settings(files: list[Path]) -> Settings:
    settings = pinned_settings().for_backtest().with_file_feed({"session": "regular"})
    strategies = (StrategyEntry(name=f"{pair_strategy.__file__}:PairStrategy"),)
    return settings.model_copy(update={"signals": settings.signals.model_copy(update={"strategies": strategies})})


def read_slices(settings: Settings, files: Sequence[Path], start: str | None) -> list[TimeSlice]:
    """Return the time slices of a backtest with as many bars before the start as the strategy declares."""
    loaded = settings.with_file_feed({"start": start})
    feed = files_source(loaded.market_data.files, files, history_bars=file_history_bars(loaded)).open_feed()
    return feed.take(1000)


@pytest.fixture(scope="module")
def time_slices(settings: Settings, files: list[Path]) -> list[TimeSlice]:
    return read_slices(settings, files, START)


@pytest.fixture(scope="module")
def replayed(settings: Settings, time_slices: list[TimeSlice]) -> list[list[Record]]:
    return replay(settings, time_slices)


def notes(outputs: Sequence[Sequence[Record]]) -> list[tuple[int, str]]:
    """Return the time and the text of each note."""
    actions = [record for out in outputs for record in out if type(record) is StrategyAction and record.kind == NOTE]
    return [(action.ts_ns, action.arguments["text"]) for action in actions]


def test_the_values_from_the_first_bar_on_are_those_of_a_run_that_began_earlier(
    settings: Settings, files: list[Path], time_slices: list[TimeSlice], replayed: list[list[Record]]
) -> None:
    found, early = notes(replayed), notes(replay(settings, read_slices(settings, files, None)))
    assert "None" in early[0][1] and not any("None" in text for _, text in found)
    assert found == [one for one in early if one[0] >= time_slices[0].ts_ns]
    assert len(found) == 4 * len(time_slices)


def test_the_strategy_trades(replayed: list[list[Record]]) -> None:
    """Otherwise the equalities below would prove little."""
    assert any(type(record) is Execution and record.exec_type == TRADE for out in replayed for record in out)


@pytest.mark.parametrize(("partitions", "crash_rate"), [(1, 0.0), (3, 0.03)])
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


def test_a_recording_gives_the_values_of_its_files(
    settings: Settings, files: list[Path], time_slices: list[TimeSlice], replayed: list[list[Record]]
) -> None:
    recorded = read_slices(settings, files, None)
    count = max(one.seq for one in time_slices[0].records if type(one) is HistoryBar)
    period = RecordedPeriod(start_ns=time_slices[0].ts_ns - MINUTE_NS)
    feed = RecordedFeed(lambda: (one for one in recorded), period, MINUTE_NS, count)
    assert notes(replay(settings, feed.take(1000))) == notes(replayed)
