"""Files of real shape become ticks: sessions, gaps, holidays, any order of rows and files, any stop and resume."""

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

from dataflows.sources.files import FeedSettings, FileFeed
from operators.stage import Tick
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


def bars(ticks: list[Tick]) -> list[Bar]:
    return [record for tick in ticks for record in tick.records if isinstance(record, Bar)]


def walk(seed: int, symbol: str, days: tuple[int, ...] = (7, 8)) -> list[str]:
    """Rows of some hours of some days of October 2013, every third minute missing, around and inside the session."""
    dice, rows = random.Random(seed), []
    for day in days:
        for minute in range(13 * 60 - 5, 14 * 60 + 30):
            if dice.random() < 0.7:
                time = f"2013-10-{day:02d}T{minute // 60:02d}:{minute % 60:02d}"
                rows.append(line(time, symbol, round(dice.uniform(9, 11), 2)))
    return rows


def test_every_open_minute_from_first_to_last_row_is_one_tick(tmp_path: Path) -> None:
    path = write(tmp_path / "A_x.csv", [line(time, "A", 10.0 + n) for n, time in enumerate(DAY)])
    feed = FileFeed([path])
    ticks = list(feed)
    opens = [tick.ts_ns - 60 * 10**9 for tick in ticks]
    assert (utc(opens[0]), utc(opens[-1]), len(ticks)) == ("2013-10-07T08:00", "2013-10-07T20:00", 721)
    assert {b - a for a, b in pairwise(opens)} == {60 * 10**9}
    sessions = {utc(bar.open_ns): (bar.session, bar.close, bar.traded) for bar in bars(ticks)}
    assert sessions["2013-10-07T13:28"] == ("PRE", 10.0, False)
    assert sessions["2013-10-07T13:29"] == ("PRE", 11.0, True)
    assert sessions["2013-10-07T13:31"] == ("REGULAR", 12.0, False)
    assert sessions["2013-10-07T20:00"] == ("POST", 14.0, True)
    assert (feed.counts.ticks, feed.counts.bars, feed.counts.no_trade_bars, feed.finished) == (721, 721, 716, True)


def test_the_regular_session_leaves_the_others_out_and_counts_them(tmp_path: Path) -> None:
    path = write(tmp_path / "A_x.csv", [line(time, "A") for time in DAY])
    feed = FileFeed([path], FeedSettings(session="regular"))
    assert [utc(tick.ts_ns) for tick in feed] == ["2013-10-07T13:31", "2013-10-07T13:32", "2013-10-07T13:33"]
    assert (feed.counts.left_out, feed.counts.closed, feed.counts.dead) == (3, 0, 0)


def test_nights_weekends_and_holidays_have_no_tick_and_their_rows_are_counted(tmp_path: Path) -> None:
    times = ["2013-11-27T23:59", "2013-11-28T15:00", "2013-11-29T17:59", "2013-11-29T22:00", "2013-11-30T15:00"]
    path = write(tmp_path / "A.csv", [line(time, "A") for time in [*times, "2013-12-02T09:00"]])
    feed = FileFeed([path])
    ticks = list(feed)
    # 61 minutes of the Wednesday's post-market, the short Friday (13 hours), the first minute of Monday.
    assert len(ticks) == 61 + 13 * 60 + 1
    assert (feed.counts.closed, feed.counts.dead) == (3, 0)
    friday = [bar for bar in bars(ticks) if bar.trading_day == 20131129]
    assert (utc(friday[0].open_ns), utc(friday[-1].ts_ns)) == ("2013-11-29T09:00", "2013-11-29T22:00")
    assert [bar.seq for bar in bars(ticks)] == list(range(1, len(ticks) + 1))


@pytest.mark.parametrize("day", ["2013-03-08", "2013-03-11", "2013-11-01", "2013-11-04"])
def test_local_times_follow_the_change_of_clock(tmp_path: Path, day: str) -> None:
    path = write(tmp_path / "A.csv", [f"{day} 09:30:00,A,1,1,1,1,1", f"{day} 09:31:00,A,1,1,1,1,1"])
    ticks = list(FileFeed([path], FeedSettings(timezone="America/New_York", session="regular")))
    expected = {"2013-03-08": "14:30", "2013-03-11": "13:30", "2013-11-01": "13:30", "2013-11-04": "14:30"}[day]
    assert utc(bars(ticks)[0].open_ns) == f"{day}T{expected}"
    assert len(ticks) == 2


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
def test_columns_and_times_are_found_by_their_common_names_and_forms(
    tmp_path: Path, header: str, times: list[str]
) -> None:
    separator = ";" if ";" in header else ","
    rows = [separator.join([time, "A", "2", "3", "1", "2.5", "100"]) for time in times]
    ticks = list(FileFeed([write(tmp_path / "x.csv", rows, header)]))
    assert [(bar.symbol, utc(bar.open_ns), bar.traded) for bar in bars(ticks)] == [
        ("A", "2013-10-07T13:30", True),
        ("A", "2013-10-07T13:31", True),
    ]


def test_times_may_be_the_close_of_the_bar_and_symbols_come_from_the_file_name(tmp_path: Path) -> None:
    header = "time,open,high,low,close,volume"
    write(tmp_path / "BRK.B_2013.csv", ["2013-10-07T13:31:00Z,1,1,1,1,1"], header)
    (tmp_path / "SPY.csv.gz").write_bytes(gzip.compress(f"{header}\r\n2013-10-07T13:31:00Z,1,1,1,1,1\r\n".encode()))
    (tick,) = FileFeed([tmp_path], FeedSettings(time_is="close"))
    assert [(bar.symbol, utc(bar.open_ns)) for bar in bars([tick])] == [
        ("BRK.B", "2013-10-07T13:30"),
        ("SPY", "2013-10-07T13:30"),
    ]


def test_symbols_start_and_end_choose_rows(tmp_path: Path) -> None:
    for seed, symbol in enumerate("ABC"):
        write(tmp_path / f"{symbol}.csv", walk(seed, symbol))
    settings = FeedSettings(symbols=("C", "A"), start="2013-10-08T13:30", end="2013-10-08T13:40")
    ticks = list(FileFeed([tmp_path], settings))
    assert {bar.symbol for bar in bars(ticks)} == {"A", "C"}
    assert ticks[0].ts_ns > settings.start_ns and ticks[-1].ts_ns <= settings.end_ns  # type: ignore[operator]


def shapes(folder: Path) -> dict[str, list[Path]]:
    """The same rows, two bad ones among them, as files of every shape."""
    rows = {symbol: walk(seed, symbol) for seed, symbol in enumerate(("AA", "B", "CC"))}
    both = [row for symbol in rows for row in rows[symbol]]
    by_time = sorted(both, key=lambda row: row.split(",")[:2])
    apart = [write(folder / f"{symbol}_1.csv", lines) for symbol, lines in rows.items()]
    found = {
        "apart": apart,
        "apart, other order": apart[::-1],
        "ordered by time": [write(folder / "time.csv", by_time)],
        "grouped by symbol": [write(folder / "group.csv", both)],
        "grouped and apart": [write(folder / "two.csv", rows["CC"] + rows["AA"]), apart[1]],
    }
    for name, paths in list(found.items()):
        found[f"{name}, Parquet"] = []
        for path in paths:
            table = pyarrow.csv.read_csv(path)
            pyarrow.parquet.write_table(table, path.with_suffix(".parquet"), row_group_size=50)
            found[f"{name}, Parquet"].append(path.with_suffix(".parquet"))
    return found


def test_the_shape_and_order_of_files_do_not_change_the_ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = shapes(tmp_path)
    expected = list(FileFeed(files["apart"]))
    assert sum(bar.traded for bar in bars(expected)) == sum(len(walk(seed, "x")) for seed in range(3))
    for buffer_bytes in (4 * 1024 * 1024, 1):
        monkeypatch.setattr("dataflows.sources.files.BUFFER_BYTES", buffer_bytes)
        monkeypatch.setattr("dataflows.sources.files.CHUNK_BYTES_MIN", 200)
        for name, paths in files.items():
            assert list(FileFeed(paths)) == expected, name


def test_resumed_after_any_tick_the_rest_is_the_same(tmp_path: Path) -> None:
    rows = walk(1, "A", days=(7,))
    rows[20] = rows[20].replace(",100", ",-5")
    rows.insert(30, "broken")
    rows += ["also broken", line("2013-10-07T15:00", "A"), line("2013-10-12T15:00", "A"), "last"]
    write(tmp_path / "A.csv", rows)
    write(tmp_path / "B.csv", ["first", *walk(2, "B", days=(7,))])
    write(tmp_path / "C.csv", ["nothing", "good", "here"])
    whole = FileFeed([tmp_path])
    ticks, states = [], [whole.state()]
    for tick in whole:
        ticks.append(tick)
        states.append(pickle.loads(pickle.dumps(whole.state())))  # noqa: S301
    assert sum(isinstance(record, DeadLetter) for tick in ticks for record in tick.records) == 8
    for at, state in enumerate(states):
        feed = FileFeed([tmp_path]).resume(state)
        assert [tick for _ in range(1000) for tick in feed.take(7)] == ticks[at:]
        assert feed.finished
        assert feed.counts == whole.counts


def test_resume_with_other_files_is_refused(tmp_path: Path) -> None:
    one, two = write(tmp_path / "A.csv", walk(1, "A")), write(tmp_path / "B.csv", walk(1, "B"))
    feed = FileFeed([one])
    next(feed)
    with pytest.raises(BadInput, match=r"was stopped with files \['A.csv'\] and cannot go on with \['B.csv'\]"):
        FileFeed([two]).resume(feed.state())


def test_memory_is_flat_in_the_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows.sources.files.CHUNK_BYTES_MAX", 100_000)

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

    assert peak(40) < 1.2 * peak(10) + 200_000


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
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
            "1 rows lie outside the sessions",
        ),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_sentence(
    tmp_path: Path, name: str, text: str | None, sentence: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInput) as error:
        list(FileFeed([tmp_path / name]))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
