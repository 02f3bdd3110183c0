"""Realistic files become time slices: sessions, gaps, holidays, any order of rows and files, any stop and resume."""

from __future__ import annotations

import gzip
import pickle
import random
import tracemalloc
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from dataflows.sources.file_feed import FeedSettings, FileFeed
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import Bar, DeadLetter

HEADER = "ts_open_utc,symbol,open,high,low,close,volume"
DAY = ("2013-10-07T08:00", "2013-10-07T13:29", "2013-10-07T13:30", "2013-10-07T13:32", "2013-10-07T20:00")


def line(time: str, symbol: str, close: float = 10.0) -> str:
    return f"{time}:00Z,{symbol},{close},{close + 0.1},{close - 0.1},{close},100"


def write(path: Path, lines: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def utc(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M")


def bars(time_slices: list[TimeSlice]) -> list[Bar]:
    return [record for time_slice in time_slices for record in time_slice.records if isinstance(record, Bar)]


def random_rows(seed: int, symbol: str, days: tuple[int, ...] = (7, 8)) -> list[str]:
    """Build rows around the open of the session on days of October 2013. About 30 % of the minutes are missing."""
    rng, rows = random.Random(seed), []
    for day in days:
        for minute in range(13 * 60 - 5, 14 * 60 + 30):
            if rng.random() < 0.7:
                time = f"2013-10-{day:02d}T{minute // 60:02d}:{minute % 60:02d}"
                rows.append(line(time, symbol, round(rng.uniform(9, 11), 2)))
    return rows


def test_every_open_minute_from_first_to_last_row_is_one_slice(tmp_path: Path) -> None:
    path = write(tmp_path / "A_x.csv", [line(time, "A", 10.0 + n) for n, time in enumerate(DAY)])
    feed = FileFeed([path])
    time_slices = list(feed)
    opens = [time_slice.ts_ns - 60 * 10**9 for time_slice in time_slices]
    assert (utc(opens[0]), utc(opens[-1]), len(time_slices)) == ("2013-10-07T08:00", "2013-10-07T20:00", 721)
    assert {b - a for a, b in pairwise(opens)} == {60 * 10**9}
    sessions = {utc(bar.open_ns): (bar.session, bar.close, bar.traded) for bar in bars(time_slices)}
    assert sessions["2013-10-07T13:28"] == ("PRE", 10.0, False)
    assert sessions["2013-10-07T13:29"] == ("PRE", 11.0, True)
    assert sessions["2013-10-07T13:31"] == ("REGULAR", 12.0, False)
    assert sessions["2013-10-07T20:00"] == ("POST", 14.0, True)
    assert (feed.counts.ticks, feed.counts.bars, feed.counts.no_trade_bars, feed.finished) == (721, 721, 716, True)


def test_regular_session_excludes_and_counts_other_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "A_x.csv", [line(time, "A") for time in DAY])
    feed = FileFeed([path], FeedSettings(session="regular"))
    assert [utc(time_slice.ts_ns) for time_slice in feed] == [
        "2013-10-07T13:31",
        "2013-10-07T13:32",
        "2013-10-07T13:33",
    ]
    assert (feed.counts.left_out, feed.counts.closed, feed.counts.dead) == (3, 0, 0)


def test_nights_weekends_and_holidays_have_no_slice_and_their_rows_are_counted(tmp_path: Path) -> None:
    times = ["2013-11-27T23:59", "2013-11-28T15:00", "2013-11-29T17:59", "2013-11-29T22:00", "2013-11-30T15:00"]
    path = write(tmp_path / "A.csv", [line(time, "A") for time in [*times, "2013-12-02T09:00"]])
    feed = FileFeed([path])
    time_slices = list(feed)
    # 61 minutes of post-market on Wednesday, 13 hours on the short Friday, and the first minute of Monday.
    assert len(time_slices) == 61 + 13 * 60 + 1
    assert (feed.counts.closed, feed.counts.dead) == (3, 0)
    friday = [bar for bar in bars(time_slices) if bar.trading_day == 20131129]
    assert (utc(friday[0].open_ns), utc(friday[-1].ts_ns)) == ("2013-11-29T09:00", "2013-11-29T22:00")
    assert [bar.seq for bar in bars(time_slices)] == list(range(1, len(time_slices) + 1))


@pytest.mark.parametrize("day", ["2013-03-08", "2013-03-11", "2013-11-01", "2013-11-04"])
def test_local_times_respect_daylight_saving_time(tmp_path: Path, day: str) -> None:
    path = write(tmp_path / "A.csv", [f"{day} 09:30:00,A,1,1,1,1,1", f"{day} 09:31:00,A,1,1,1,1,1"])
    time_slices = list(FileFeed([path], FeedSettings(timezone="America/New_York", session="regular")))
    expected = {"2013-03-08": "14:30", "2013-03-11": "13:30", "2013-11-01": "13:30", "2013-11-04": "14:30"}[day]
    assert utc(bars(time_slices)[0].open_ns) == f"{day}T{expected}"
    assert len(time_slices) == 2


@pytest.mark.parametrize(
    ("header", "times"),
    [
        ("Timestamp,Symbol,O,H,L,C,Vol", ["2013-10-07T13:30:00+00:00", "2013-10-07 15:31:00+02:00"]),
        ("time,TICKER,open,high,low,close,volume", ["1381152600", "1381152660"]),
        ("ts,symbol,open,high,low,close,volume", ["1381152600000", "1381152660000"]),
        ("date,symbol,open,high,low,close,volume", ["1381152600000000", "1381152660000000"]),
        ("open_time,symbol,open,high,low,close,volume", ["1381152600000000000", "1381152660000000000"]),
        ("datetime,symbol,open,high,low,close,volume", ["2013-10-07 13:30", "2013-10-07T13:31"]),
        ("datetime,symbol,open,high,low,close,volume", ["20131007 133000", "2013-10-07 13:31:00 UTC"]),
        ("\ufeffDateTime;symbol;open;high;low;close;volume", ["2013-10-07 13:30:00.000", "2013-10-07 13:31:00.000"]),
    ],
)
def test_common_column_names_and_time_formats_are_recognized(tmp_path: Path, header: str, times: list[str]) -> None:
    separator = ";" if ";" in header else ","
    rows = [separator.join([time, "A", "2", "3", "1", "2.5", "100"]) for time in times]
    time_slices = list(FileFeed([write(tmp_path / "x.csv", rows, header)]))
    assert [(bar.symbol, utc(bar.open_ns), bar.traded) for bar in bars(time_slices)] == [
        ("A", "2013-10-07T13:30", True),
        ("A", "2013-10-07T13:31", True),
    ]


def test_times_may_be_the_close_of_the_bar_and_symbols_come_from_the_file_name(tmp_path: Path) -> None:
    header = "time,open,high,low,close,volume"
    write(tmp_path / "BRK.B_2013.csv", ["2013-10-07T13:31:00Z,1,1,1,1,1"], header)
    (tmp_path / "SPY.csv.gz").write_bytes(gzip.compress(f"{header}\r\n2013-10-07T13:31:00Z,1,1,1,1,1\r\n".encode()))
    (time_slice,) = FileFeed([tmp_path], FeedSettings(time_is="close"))
    assert [(bar.symbol, utc(bar.open_ns)) for bar in bars([time_slice])] == [
        ("BRK.B", "2013-10-07T13:30"),
        ("SPY", "2013-10-07T13:30"),
    ]


def test_symbols_start_and_end_select_rows(tmp_path: Path) -> None:
    for seed, symbol in enumerate("ABC"):
        write(tmp_path / f"{symbol}.csv", random_rows(seed, symbol))
    settings = FeedSettings(symbols=("C", "A"), start="2013-10-08T13:30", end="2013-10-08T13:40")
    time_slices = list(FileFeed([tmp_path], settings))
    assert {bar.symbol for bar in bars(time_slices)} == {"A", "C"}
    assert time_slices[0].ts_ns > settings.start_ns and time_slices[-1].ts_ns <= settings.end_ns  # type: ignore[operator]


def shapes(folder: Path) -> dict[str, list[Path]]:
    """Write the same rows as files of every shape."""
    rows = {symbol: random_rows(seed, symbol) for seed, symbol in enumerate(("AA", "B", "CC"))}
    all_rows = [row for symbol in rows for row in rows[symbol]]
    by_time = sorted(all_rows, key=lambda row: row.split(",")[:2])
    by_symbol = [write(folder / f"{symbol}_1.csv", lines) for symbol, lines in rows.items()]
    files = {
        "apart": by_symbol,
        "apart, other order": by_symbol[::-1],
        "ordered by time": [write(folder / "time.csv", by_time)],
        "grouped by symbol": [write(folder / "group.csv", all_rows)],
        "grouped and apart": [write(folder / "two.csv", rows["CC"] + rows["AA"]), by_symbol[1]],
    }
    for name, paths in list(files.items()):
        files[f"{name}, Parquet"] = []
        for path in paths:
            table = pyarrow.csv.read_csv(path)
            pyarrow.parquet.write_table(table, path.with_suffix(".parquet"), row_group_size=50)
            files[f"{name}, Parquet"].append(path.with_suffix(".parquet"))
    return files


def test_the_shape_and_order_of_files_do_not_change_the_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = shapes(tmp_path)
    expected = list(FileFeed(files["apart"]))
    assert sum(bar.traded for bar in bars(expected)) == sum(len(random_rows(seed, "x")) for seed in range(3))
    for buffer_bytes in (4 * 1024 * 1024, 1):
        monkeypatch.setattr("dataflows.sources.file_feed.BUFFER_BYTES", buffer_bytes)
        monkeypatch.setattr("dataflows.sources.file_feed.CHUNK_BYTES_MIN", 200)
        for name, paths in files.items():
            assert list(FileFeed(paths)) == expected, name


def test_resume_after_any_slice_gives_the_same_rest(tmp_path: Path) -> None:
    rows = random_rows(1, "A", days=(7,))
    rows[20] = rows[20].replace(",100", ",-5")
    rows.insert(30, "broken")
    rows += ["also broken", line("2013-10-07T15:00", "A"), line("2013-10-12T15:00", "A"), "last"]
    write(tmp_path / "A.csv", rows)
    write(tmp_path / "B.csv", ["first", *random_rows(2, "B", days=(7,))])
    write(tmp_path / "C.csv", ["nothing", "good", "here"])
    uninterrupted = FileFeed([tmp_path])
    time_slices, states = [], [uninterrupted.state()]
    for time_slice in uninterrupted:
        time_slices.append(time_slice)
        states.append(pickle.loads(pickle.dumps(uninterrupted.state())))  # noqa: S301
    assert sum(isinstance(record, DeadLetter) for time_slice in time_slices for record in time_slice.records) == 8
    for position, state in enumerate(states):
        feed = FileFeed([tmp_path]).resume(state)
        assert [time_slice for _ in range(1000) for time_slice in feed.take(7)] == time_slices[position:]
        assert feed.finished
        assert feed.counts == uninterrupted.counts


def test_resume_with_other_files_is_rejected(tmp_path: Path) -> None:
    first_file, second_file = (
        write(tmp_path / "A.csv", random_rows(1, "A")),
        write(tmp_path / "B.csv", random_rows(1, "B")),
    )
    feed = FileFeed([first_file])
    next(feed)
    with pytest.raises(BadInput, match=r"was stopped with files \['A.csv'\] and cannot continue with \['B.csv'\]"):
        FileFeed([second_file]).resume(feed.state())


@pytest.mark.parametrize("most_days", [8, pytest.param(16, marks=pytest.mark.long)])
def test_memory_is_flat_in_the_number_of_rows(most_days: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows.sources.file_feed.CHUNK_BYTES_MAX", 100_000)

    def peak(days: int) -> int:
        path = tmp_path / f"{days}.csv"
        with path.open("w") as file:
            file.write("time,symbol,open,high,low,close,volume\n")
            for minute in range(days * 1440):
                file.write(f"{1381104000 + 60 * minute},{'AB'[minute % 2]},10.5,11.25,9.75,10.0,{minute % 7}\n")
        feed = FileFeed([path], FeedSettings(calendar="24/7"))
        tracemalloc.start()
        count = sum(1 for _ in feed)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == days * 1440
        return peak

    assert peak(most_days) < 1.2 * peak(most_days // 4) + 200_000


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", None, "does not exist"),
        ("x.xlsx", "", "is neither CSV nor Parquet"),
        ("x.parquet", "no parquet", "is not Parquet"),
        ("x.csv", "when,open,high,low,close,volume\n", "has no column for time; its columns are when, open, high"),
        ("x.csv", "time,price\n", "has no column for open, high, low, close, volume"),
        ("x.csv", "", "is empty"),
        ("x.csv", "time,open,high,low,close,volume\n", "no usable row in x.csv"),
        ("x.csv", "time,open,high,low,close,volume\n2013-10-07T13:30:00Z,1,1,1,-1,1\n", "line 2 of x.csv: field close"),
        (
            "x.csv",
            "time,open,high,low,close,volume\n2013-10-06T13:30:00Z,1,1,1,1,1\n",
            "1 row lies outside the sessions",
        ),
    ],
)
def test_unusable_files_give_a_one_line_error(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInput) as error:
        list(FileFeed([tmp_path / name]))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
