"""Each kind of bad row becomes a dead letter with its reason, line and bytes. The feed reads the rest of the file."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from dataflows.sources.blocks import Block, SymbolTable, join
from dataflows.sources.csv_table import CsvTable
from dataflows.sources.file_feed import FeedSettings, FileFeed
from dataflows.sources.rows import RowRules
from schemas.records import Bar, DeadLetter

HEADER = "ts_open_utc,symbol,open,high,low,close,volume"
GOOD_ROW = "2013-10-07T13:3{}:00Z,A,10.0,11.0,9.0,10.5,100"
ROW_TIME = "2013-10-07T13:31:00Z"

ROW_REST = "A,10.0,11.0,9.0,10.5,100"
BAD_TIMES = [
    ("yesterday", "must be an ISO time or an epoch number, found 'yesterday'"),
    ("", "must be an ISO time or an epoch number, found nothing"),
    ("2013-13-07T13:31:00Z", "must be an ISO time or an epoch number, found '2013-13-07T13:31:00Z'"),
    (
        "2013-10-07T13:30:30Z",
        "must be a multiple of 1m, the interval of the bars (--interval), found 2013-10-07T13:30:30Z",
    ),
    ("1913-10-07T13:31:00Z", "must lie between 1980 and tomorrow, found '1913-10-07T13:31:00Z'"),
    ("2013-10-07T13:30:00Z", "must be after 2013-10-07T13:30:00Z of A, found 2013-10-07T13:30:00Z"),
    ("2113-10-07T13:31:00Z", "must lie between 1980 and tomorrow, found '2113-10-07T13:31:00Z'"),
]
NO_VOLUME = "; if -1 stands for no volume, set market_data.files.volume (--volume) to none"
BAD_ROWS = [
    *((f"{time},{ROW_REST}", f"field time {reason}") for time, reason in BAD_TIMES),
    (f"{ROW_TIME},A,10.0,11.0,9.0,10.5", "row must have 7 columns, found 6"),
    (f"{ROW_TIME},A,10.0,11.0,9.0,10.5,100,7", "row must have 7 columns, found 8"),
    ("garbage", "row must have 7 columns, found 1"),
    (
        f'"{ROW_TIME},A,10.0,11.0,9.0,10.5,100',
        "row must have 7 columns, found 1; a row must be one line, without line breaks in quotes",
    ),
    (f"{ROW_TIME},A,ten,11.0,9.0,10.5,100", "field open must be a number, found 'ten'"),
    (f"{ROW_TIME},A,,11.0,9.0,10.5,100", "field open must be a number, found nothing"),
    (f"{ROW_TIME},A,1_0,11.0,9.0,10.5,100", "field open must be a number, found '1_0'"),
    (f"{ROW_TIME},A,10.0,11.0,NA,10.5,100", "field low must be a number, found 'NA'"),
    (f"{ROW_TIME},A,10.0,11.0,9.0,nan,100", "field close must be finite, found nan"),
    (f"{ROW_TIME},A,10.0,inf,9.0,10.5,100", "field high must be finite, found inf"),
    (f"{ROW_TIME},A,10.0,11.0,9.0,-3.0,100", "field close must be > 0, found -3.0"),
    (f"{ROW_TIME},A,10.0,11.0,0,10.5,100", "field low must be > 0, found 0.0"),
    (
        f"{ROW_TIME},A,10.0,11.0,9.0,10.5,-1",
        f"field volume must be >= 0, found -1.0{NO_VOLUME}",
    ),
    (f"{ROW_TIME},A,10.0,9.0,11.0,10.5,100", "field high must be >= low 11.0, found 9.0"),
    (f"{ROW_TIME},A,8.5,11.0,9.0,10.5,100", "field open must lie in [low, high] = [9.0, 11.0], found 8.5"),
    (f"{ROW_TIME},A,10.0,11.0,9.0,11.5,100", "field close must lie in [low, high] = [9.0, 11.0], found 11.5"),
    (f"{ROW_TIME},,10.0,11.0,9.0,10.5,100", "field symbol must be a printable name, found nothing"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_bad_row_becomes_a_dead_letter_with_line_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    (tmp_path / "A_1.csv").write_text("\n".join([HEADER, GOOD_ROW.format(0), row, GOOD_ROW.format(2)]) + "\n")
    feed = FileFeed([tmp_path / "A_1.csv"])
    time_slices = list(feed)
    open_ns = time_slices[0].ts_ns
    assert [[type(record) for record in time_slice.records] for time_slice in time_slices] == [
        [Bar, DeadLetter],
        [Bar],
        [Bar],
    ]
    assert time_slices[0].records[1] == DeadLetter(
        topic="file:A_1.csv",
        partition=0,
        offset=3,
        stage="market_data",
        ts_ns=0,
        reason=reason,
        schema_id=None,
        raw=row.encode(),
    )
    assert [time_slice.ts_ns for time_slice in time_slices] == [open_ns, open_ns + 60 * 10**9, open_ns + 120 * 10**9]
    assert feed.counts.dead == 1


def test_invalid_bytes_and_windows_line_ends_are_reported_correctly(tmp_path: Path) -> None:
    rows = [
        GOOD_ROW.format(0).encode(),
        b"\xff\xfe,A,10.0",
        b"2013-10-07T13:31:00Z,\xff,1,1,1,1,1",
        GOOD_ROW.format(2).encode(),
    ]
    (tmp_path / "A.csv").write_bytes(b"\r\n".join([HEADER.encode(), *rows]))
    dead_letters = [
        r for time_slice in FileFeed([tmp_path / "A.csv"]) for r in time_slice.records if isinstance(r, DeadLetter)
    ]
    assert [(letter.offset, letter.raw) for letter in dead_letters] == [(3, rows[1]), (4, rows[2])]


def test_dead_letter_follows_its_neighbor_and_carries_the_last_clock(tmp_path: Path) -> None:
    lines = [
        HEADER,
        "bad before",
        GOOD_ROW.format(0),
        GOOD_ROW.format(3),
        "bad within",
        "",
        "bad too",
        GOOD_ROW.format(5),
        "bad end",
    ]
    (tmp_path / "A.csv").write_text("\n".join(lines))
    time_slices = list(FileFeed([tmp_path / "A.csv"]))
    first_ns = time_slices[0].ts_ns
    minute_ns = 60 * 10**9
    offsets = {
        (time_slice.ts_ns - first_ns) // minute_ns: [
            record.offset for record in time_slice.records[1:] if isinstance(record, DeadLetter)
        ]
        for time_slice in time_slices
    }
    assert offsets == {
        0: [2],
        1: [],
        2: [],
        3: [5, 7],
        4: [],
        5: [9],
    }
    assert [r.ts_ns for time_slice in time_slices for r in time_slice.records[1:]] == [
        0,
        *[first_ns + 2 * minute_ns] * 2,
        first_ns + 4 * minute_ns,
    ]


def test_duplicate_minute_in_a_second_file_is_a_dead_letter(tmp_path: Path) -> None:
    for name in ("A_1.csv", "A_2.csv"):
        (tmp_path / name).write_text("\n".join([HEADER, GOOD_ROW.format(0), GOOD_ROW.format(1)]))
    time_slices = list(FileFeed([tmp_path / "A_2.csv", tmp_path / "A_1.csv"]))
    assert [time_slice.records[1][:3] for time_slice in time_slices] == [("file:A_2.csv", 0, 2), ("file:A_2.csv", 0, 3)]
    reason = "field time must not repeat 2013-10-07T13:31:00Z of A in another file"
    assert time_slices[1].records[1][5:] == (reason, None, GOOD_ROW.format(1).encode())


def test_bad_rows_of_parquet_have_the_reasons_of_csv(tmp_path: Path) -> None:
    times = [datetime(2013, 10, 7, 13, minute, tzinfo=UTC) for minute in (30, 31, 32, 32, 33)]
    columns = {
        "timestamp": pa.array([*times, None], pa.timestamp("ns", "UTC")),
        "open": pa.array([10.0, 10.0, 10.0, 10.0, None, 10.0]),
        "high": pa.array([11.0, 9.5, 11.0, 11.0, 11.0, 11.0]),
        "low": pa.array([9.0] * 6),
        "close": pa.array([10.5, 9.25, 10.5, 10.5, 10.5, 10.5]),
        "volume": pa.array([100] * 6),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "A_1.parquet")
    dead_letters = [r for t in FileFeed([tmp_path / "A_1.parquet"]) for r in t.records if isinstance(r, DeadLetter)]
    assert [(letter.offset, letter.reason) for letter in dead_letters] == [
        (2, "field open must lie in [low, high] = [9.0, 9.5], found 10.0"),
        (4, "field time must be after 2013-10-07T13:32:00Z of A, found 2013-10-07T13:32:00Z"),
        (5, "field open must be a number, found nothing"),
        (6, "field time must be an ISO time or an epoch number, found nothing"),
    ]
    assert dead_letters[0].raw == b"2013-10-07 13:31:00+00:00,10.0,9.5,9.0,9.25,100"


ODD_FIELDS = [
    "",
    " 10.5 ",
    '"10.5"',
    "1e1",
    "+10",
    "nan",
    "-inf",
    "1_0",
    "0x10",
    "NULL",
    "10,5",
    '"',
    "10.50000000000000000001",
    "\u0663",
]
ODD_TIMES = [
    *(
        "2013-10-07 13:31",
        "2013-10-07T13:31:00",
        "2013-10-07T09:31:00-04:00",
        "1381152660",
        "1381152660000",
        "2013-10-07",
    ),
    *(
        "2013-10-07T13:31:00.000000001Z",
        "2013-10-07T13:31:00.0Z",
        "20131007 133100",
        "9999-01-01T00:00Z",
        "99999999999",
    ),
    *(" 2013-10-07T13:31:00Z", "2013-03-10T02:30:00", "2013-11-03T01:30:00", "2013-10-07T24:00Z", "-1", "1e9"),
]


def rows_of(block: Block, symbols: SymbolTable) -> list[tuple[object, ...]]:
    names = [symbols.names[code] for code in block.codes]
    good = zip(block.lines.tolist(), block.times.tolist(), names, *block.values.T.tolist(), strict=True)
    return sorted([*good, *((bad.line, bad.reason, bad.raw) for bad in block.bad_rows)], key=lambda row: row[0])


@pytest.mark.parametrize("seed", range(60))
def test_columnar_and_row_by_row_parsing_agree(tmp_path: Path, seed: int) -> None:
    """Random files with odd fields: the columnar parser accepts exactly the rows that `RowRules.check_row` accepts."""
    rng = random.Random(seed)
    lines = []
    for n in range(300):
        time = f"2013-10-07T{13 + n // 60}:{n % 60:02d}:00"
        fields = [time + ("Z" if seed % 2 else ""), rng.choice("AB"), "10.5", "11", "10", "10.25", str(n)]
        if rng.random() < (0.02 if seed % 3 else 0.4):
            column = rng.randrange(7)
            fields[column] = rng.choice(ODD_TIMES if column == 0 else ODD_FIELDS)
        lines.append(",".join(fields))
        if rng.random() < 0.003:
            lines.append(rng.choice(["", "x", '"a\nb"', "a\rb"]))
    text = "\n".join([HEADER, *lines]) + rng.choice(["", "\n"])
    path = tmp_path / "A.csv"
    path.write_text(text if seed % 5 else text.replace("\n", "\r\n"), encoding="utf-8", newline="")
    rules, symbols = RowRules(FeedSettings(timezone="America/New_York", time_is="close")), SymbolTable()
    table = CsvTable(path, rules, symbols, "A", 4000)
    data = path.read_bytes().split(b"\n", 1)[1]
    row_by_row = table._parse_line_by_line(data, 2, range(data.count(b"\n") + (not data.endswith(b"\n"))))
    assert rows_of(join(list(table.blocks())), symbols) == rows_of(row_by_row, symbols)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
def test_columnar_and_row_by_row_parsing_agree_on_dates_and_times_of_day(
    tmp_path: Path, seed: int, interval: str
) -> None:
    """Random rows with the formats of vendors in two columns, on the grid of each kind of interval."""
    rng = random.Random(seed)
    days = [
        "2013.10.07",
        "20131008",
        "09.10.2013",
        "10-Oct-2013",
        "10/11/2013",
        "2013-10-12",
        "1969-10-10",
        "45293",
        "",
    ]
    clocks = [
        "09:30",
        "93000",
        "103000",
        "10:30:00",
        "9:30 AM",
        "16:00",
        "000000",
        "0",
        "24:00",
        "09:30 US/Eastern",
        "x",
    ]
    fields = ["10,5", "10.5", "11", "", "nan"]
    lines = ["date;time;open;high;low;close;volume"]
    for n in range(200):
        good = rng.random() < 0.9
        day, clock = (rng.choice(days[:5]), "09:30") if good else (rng.choice(days), rng.choice(clocks))
        lines.append(";".join([day, clock, "10,5" if good else rng.choice(fields), "11", "10", "10,25", str(n)]))
    path = tmp_path / "A.csv"
    path.write_text("\n".join(lines))
    settings = FeedSettings(
        timezone="America/New_York",
        time_is="close" if seed % 2 else "open",
        bar_interval=interval,
        date_order="mdy",
        decimal=",",
    )
    symbols = SymbolTable()
    table = CsvTable(path, RowRules(settings), symbols, "A", 2000)
    data = path.read_bytes().split(b"\n", 1)[1]
    row_by_row = table._parse_line_by_line(data, 2, range(200))
    assert len(row_by_row.times) or (interval, seed % 2) == ("1h", 1)
    assert rows_of(join(list(table.blocks())), symbols) == rows_of(row_by_row, symbols)
