"""A backtest from recorded topics: only what was given is read, and a recording of files decides what they decide."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dataflows.replay.recorded_feed import RecordedFeed, RecordedPeriod
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.row_times import iso
from operators.bar_completion import FeedSettings
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import Bar, Command, HistoryBar, Record
from tests.builders import bar, broker_update, command, corporate_action
from tests.replay.market import write_market
from tests.replay.runs import fused_hash, pinned_settings, read_time_slices

MINUTE_NS = 60 * 10**9


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_market(tmp_path_factory.mktemp("bars"), symbols=("A", "B", "C"))


@pytest.fixture(scope="module")
def recorded(files: list[Path]) -> list[TimeSlice]:
    """The slices of the files as a platform records them, with slices closed for orders and broker reports."""
    out: list[TimeSlice] = []
    for number, time_slice in enumerate(read_time_slices(files)):
        extra: list[Record] = [command(f"cmd-{number}")] if number == 50 else []
        out.append(TimeSlice(time_slice.ts_ns, [*extra, *time_slice.records]))
        if number % 7 == 0:
            out.append(TimeSlice(time_slice.ts_ns + 1, [broker_update("ord-1", "NEW")] if number % 2 else []))
    return out


def read(slices: Sequence[TimeSlice], period: RecordedPeriod, batch: int = 64) -> list[TimeSlice]:
    def open_slices() -> Generator[TimeSlice]:
        yield from slices

    feed, out = RecordedFeed(open_slices, period, MINUTE_NS), list[TimeSlice]()
    while not feed.finished:
        out += feed.take(batch)
    return out


def from_files(files: Sequence[Path], **changes: Any) -> list[TimeSlice]:
    return list(FileFeed(files, FeedSettings(**changes)))


@pytest.mark.parametrize("batch", [1, 10_000])
def test_a_recording_of_files_is_read_as_the_files(batch: int, files: list[Path], recorded: list[TimeSlice]) -> None:
    found = read(recorded, RecordedPeriod(), batch)
    assert found == read_time_slices(files)
    assert fused_hash(found, settings=pinned_settings()) == fused_hash(read_time_slices(files))


def test_a_period_and_symbols_are_read_as_of_the_files(files: list[Path], recorded: list[TimeSlice]) -> None:
    """The first bar of the period has the number 1, and a symbol starts with its first trade in it."""
    times = [time_slice.ts_ns for time_slice in read_time_slices(files)]
    start_ns, end_ns = times[100], times[-100]
    expected = from_files(files, start=iso(start_ns), end=iso(end_ns), symbols=("A", "C"))
    assert expected[0].records and len(expected) > 100
    assert read(recorded, RecordedPeriod(("A", "C"), start_ns, end_ns)) == expected


def test_commands_are_given_only_on_request(recorded: list[TimeSlice]) -> None:
    assert "commands" not in RecordedPeriod().topics
    period = RecordedPeriod(with_commands=True)
    assert "commands" in period.topics and period.topics[-1].startswith("market-")
    found = [record for time_slice in read(recorded, period) for record in time_slice.records]
    assert sum(type(record) is Command for record in found) == 1


def test_a_symbol_or_a_period_without_bars_is_an_error(recorded: list[TimeSlice]) -> None:
    with pytest.raises(BadInput, match="no recorded bars of symbol 'AA' in this period; did you mean A\\?"):
        read(recorded, RecordedPeriod(("AA",)))
    with pytest.raises(BadInput, match="no recorded bars in this period"):
        read(recorded, RecordedPeriod(start_ns=recorded[-1].ts_ns + 1))


def test_given_records_without_bars_keep_their_slice(recorded: list[TimeSlice]) -> None:
    """A live platform closes slices for headlines and rates; only those closed for its own orders are dropped."""
    bars = [TimeSlice(ts_ns, [r for r in records if type(r) is Bar]) for ts_ns, records in recorded]
    found = read(recorded, RecordedPeriod(with_commands=True))
    assert len(found) == sum(bool(records) for _, records in bars)


def history_read(recorded: Sequence[TimeSlice], start_ns: int) -> list[HistoryBar]:
    """Return the history of the first time slice of a period that starts at `start_ns`."""

    def open_slices() -> Generator[TimeSlice]:
        yield from recorded

    (first, *_) = RecordedFeed(open_slices, RecordedPeriod(start_ns=start_ns), MINUTE_NS, 10).take(1)
    return [record for record in first.records if type(record) is HistoryBar]


def earlier_bar(number: int, close: float, adjusted_day: int = 20240103) -> HistoryBar:
    """Build a recorded bar of the day before the start, in the shares of `adjusted_day`."""
    end_ns = number * MINUTE_NS
    return HistoryBar(
        symbol="A",
        seq=number,
        ts_ns=10 * MINUTE_NS,
        open_ns=end_ns - MINUTE_NS,
        end_ns=end_ns,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=100.0,
        session="REGULAR",
        trading_day=20240102,
        traded=True,
        adjusted_day=adjusted_day,
    )


def test_a_split_that_the_recorded_history_includes_is_not_applied_again() -> None:
    """The run started on the day of the split, with the bars of the day before in new shares."""
    split = corporate_action("spl-1", "SPLIT", "A", ratio=2, ex_date=20240103)
    recorded = [
        TimeSlice(10 * MINUTE_NS, [split, earlier_bar(1, 50.0), bar("A", 1, 10 * MINUTE_NS, 51.0, day=20240103)]),
        TimeSlice(11 * MINUTE_NS, [bar("A", 2, 11 * MINUTE_NS, 52.0, day=20240103)]),
    ]
    assert [one.close for one in history_read(recorded, 10 * MINUTE_NS)] == [50.0, 51.0]


def test_a_history_that_was_recorded_twice_is_given_once() -> None:
    """A live feed that is interrupted at its first start loads the bars again, with other numbers."""
    again = [earlier_bar(number, 50.0 + number)._replace(seq=number + 2) for number in (1, 2, 3)]
    recorded = [
        TimeSlice(10 * MINUTE_NS, [earlier_bar(1, 51.0), earlier_bar(2, 52.0)]),
        TimeSlice(11 * MINUTE_NS, [*again, bar("A", 1, 11 * MINUTE_NS, 60.0, day=20240103)]),
    ]
    assert [one.close for one in history_read(recorded, 10 * MINUTE_NS)] == [51.0, 52.0, 53.0]


def test_a_recorded_history_in_later_shares_replaces_one_before_the_first_bar() -> None:
    split = corporate_action("spl-1", "SPLIT", "A", ratio=2, ex_date=20240103)
    old = [earlier_bar(number, 100.0, adjusted_day=20240102) for number in (1, 2)]
    again = [earlier_bar(number, 50.0)._replace(seq=number + 2) for number in (1, 2, 3)]
    recorded = [
        TimeSlice(10 * MINUTE_NS, old),
        TimeSlice(11 * MINUTE_NS, [split, *again, bar("A", 1, 11 * MINUTE_NS, 51.0, day=20240103)]),
    ]
    assert [one.close for one in history_read(recorded, 10 * MINUTE_NS)] == [50.0, 50.0, 50.0]
