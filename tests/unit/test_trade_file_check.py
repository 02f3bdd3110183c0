"""`data check --trades` names what is doubtful about files of trades. Parquet files contain the same trades as CSV."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from dataflows.research.trade_file_check import TradeFileCheck, check_trade_files
from dataflows.sources.rows import RowRules
from dataflows.sources.tape.rules import TRADES
from dataflows.sources.tape.tape import Tape, TapeFiles
from dataflows.sources.tape.tape_file import TapeFile, TapeRow
from deploy.cli import app, register_all
from operators.bar_completion import FeedSettings
from schemas.errors import BadInput
from schemas.records import Trade

HEADER = "time,symbol,price,size"
NEW_YORK = ZoneInfo("America/New_York")
OPEN = datetime(2024, 3, 7, 9, 30, tzinfo=NEW_YORK)
Row = tuple[datetime, str, float, float]


def trades(*, days: int = 2, seconds: int = 60, symbol: str = "SPY") -> list[Row]:
    """Return one trade every `seconds` of the regular session of each day."""
    return [
        (OPEN + timedelta(days=day, seconds=second), symbol, 100 + second % 7 / 100, 10.0 + second % 3)
        for day in range(days)
        for second in range(0, 23_400, seconds)
    ]


def write(folder: Path, rows: list[Row], name: str = "trades.csv", extra: tuple[str, ...] = ()) -> Path:
    path = folder / name
    texts = [f"{time.isoformat()},{symbol},{price},{size}" for time, symbol, price, size in rows]
    path.write_text("\n".join([HEADER, *texts, *extra]) + "\n")
    return path


def write_parquet(folder: Path, rows: list[Row], time_type: Any = pa.timestamp("us", "UTC")) -> Path:  # noqa: B008
    path = folder / "trades.parquet"
    zone = UTC if pa.types.is_timestamp(time_type) and time_type.tz else NEW_YORK
    times = [time.astimezone(zone) for time, *_ in rows]
    if pa.types.is_timestamp(time_type) and not time_type.tz:
        times = [time.replace(tzinfo=None) for time in times]
    elif pa.types.is_integer(time_type):
        times = [int(time.timestamp() * 1000) for time in times]  # type: ignore[misc]
    columns = {"Time": pa.array(times, time_type), "ticker": [row[1] for row in rows]}
    columns |= {"price": [row[2] for row in rows], "size": [row[3] for row in rows]}
    pa.parquet.write_table(pa.table(columns), path)
    return path


def check(path: Path, **options: Any) -> TradeFileCheck:
    (found,) = check_trade_files([path], FeedSettings(**options))
    return found


def rows_of(path: Path, **options: Any) -> list[TapeRow]:
    return list(TapeFile(path, TRADES, RowRules(FeedSettings(**options)), lambda _: []).rows())


@pytest.mark.parametrize("time_type", [pa.timestamp("ns", "UTC"), pa.timestamp("ms"), pa.int64()], ids=str)
def test_a_parquet_file_has_the_trades_of_the_csv_file(tmp_path: Path, time_type: Any) -> None:
    rows = trades(seconds=3600)
    options = {"timezone": "America/New_York"} if str(time_type) == "timestamp[ms]" else {}
    records = [row.record for row in rows_of(write_parquet(tmp_path, rows, time_type), **options)]
    assert records == [row.record for row in rows_of(write(tmp_path, rows))] and len(records) == 14


def test_a_tape_merges_parquet_files_and_those_of_a_folder(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, trades(days=1, seconds=3600))
    for files in ([path], [tmp_path]):
        tape = Tape(TapeFiles(trades=files), FeedSettings())
        end_ns = int((OPEN + timedelta(hours=2)).timestamp()) * 10**9
        records, dead_letters = tape.pop_until(end_ns, end_ns - 7200 * 10**9, 0)
        assert [(type(one), one.seq) for one in records] == [(Trade, 1), (Trade, 2), (Trade, 3)]  # type: ignore[union-attr]
        assert dead_letters == []


def test_a_bad_row_of_parquet_is_rejected_with_its_number_and_its_content(tmp_path: Path) -> None:
    rows = trades(days=1, seconds=3600)
    rows[3] = (*rows[3][:2], float("nan"), 1.0)
    (bad,) = (row for row in rows_of(write_parquet(tmp_path, rows)) if row.record is None)
    assert (bad.line, bad.reason) == (4, "field price must be a number, found nothing")
    assert json.loads(bad.raw)["ticker"] == "SPY"


def test_a_clean_file_has_no_finding(tmp_path: Path) -> None:
    found = check(write(tmp_path, trades() + trades(days=0)))
    assert (found.findings, found.trades, found.rejected, found.duplicates) == ([], 780, {}, 0)
    assert (found.first, found.last) == ("2024-03-07T14:30:00Z", "2024-03-08T20:59:00Z")
    assert found.session_trades == {"REGULAR": 780}
    symbol = found.symbols["SPY"]
    assert (symbol.days, symbol.missing_days, symbol.is_liquid) == (2, [], True)
    assert symbol.largest_gap == {"time": "2024-03-07T14:30:00Z", "seconds": 60}


LINE = OPEN + timedelta(days=1, hours=6)
PROBLEMS: list[tuple[str, list[Row], tuple[str, ...], str]] = [
    (
        "a negative price",
        trades(),
        (f"{LINE + timedelta(hours=1)},SPY,-1,10",),
        "1 row is rejected: price must be > 0 and finite (1); the first one in line 782: field price must be > 0 and",
    ),
    (
        "a negative size",
        trades(),
        (f"{LINE + timedelta(hours=1)},SPY,100,-5",),
        "1 row is rejected: size must be >= 0 and finite (1); the first one in line 782",
    ),
    (
        "an older row",
        trades(),
        (f"{OPEN},SPY,100,10", f"{OPEN},SPY,100,10"),
        "the rows are not in order of time; sort the file by time, because a backtest rejects older rows",
    ),
    (
        "a copy",
        [row for row in trades() for _ in range(2)],
        (),
        "780 trades repeat time, price and size of another one of the symbol; remove copies",
    ),
    (
        "a gap",
        trades()[:100] + trades()[160:],
        (),
        "SPY: no trade for 61 minutes from 2024-03-07T16:09:00Z, within a session",
    ),
    (
        "a missing session",
        trades(days=1) + [(row[0] + timedelta(days=4), *row[1:]) for row in trades(days=1)],
        (),
        "SPY: 1 session has no trade, the first one 20240308",
    ),
    (
        "another zone",
        [(row[0] + timedelta(hours=14), *row[1:]) for row in trades(days=1)],
        (),
        "270 trades lie outside all sessions, such as holidays; check the calendar and the time zone",
    ),
    ("a size of 0", [(*row[:3], 0.0) for row in trades()[:2]], (), "SPY: 2 trades have the size 0"),
    ("no row", [], (), "no trade in this file"),
]


@pytest.mark.parametrize(("rows", "extra", "finding"), [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS])
def test_a_problem_is_one_sentence(tmp_path: Path, rows: list[Row], extra: tuple[str, ...], finding: str) -> None:
    findings = check(write(tmp_path, rows, extra=extra)).findings
    assert any(one.startswith(finding) for one in findings), findings
    assert not any("\n" in one for one in findings)


def test_a_rarely_traded_symbol_has_gaps_without_a_finding(tmp_path: Path) -> None:
    found = check(write(tmp_path, trades(seconds=7200)))
    assert found.findings == [] and found.symbols["SPY"].is_liquid is False
    assert found.symbols["SPY"].largest_gap == {"time": "2024-03-07T14:30:00Z", "seconds": 7200}


WRONG_FILES = [
    ("t.parquet", b"PAR1 but damaged", "cannot be read as Parquet: "),
    ("t.csv", b"PAR1\0\0", "is Parquet; its name must end in .parquet"),
    ("t.xlsx", b"PK\x03\x04", "is neither CSV, JSON lines nor Parquet: its name must end in .csv, .txt, .jsonl"),
    ("t.csv", b"time,symbol,open,close\n", "has no column for price, size; its columns are time, symbol, open, close"),
    ("t.csv", b"time,symbol,price,size\n1,X,abc,5\n", "no usable row in "),
    ("t.csv", b"", "is empty or starts with an empty line; its first line must be the header"),
]


@pytest.mark.parametrize(("name", "content", "message"), WRONG_FILES)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = check(tmp_path / name)
    assert found.error is not None and message in found.error and found.findings == [found.error]
    assert "\n" not in found.error


def test_a_parquet_file_without_a_column_names_those_that_it_has(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"time": [1], "last": [2.0]}), tmp_path / "t.parquet")
    error = check(tmp_path / "t.parquet").error
    assert error is not None and "has no column for symbol, price, size; its columns are time, last" in error


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(BadInput, match=f"{name} does not exist"):
            check(tmp_path / name)
    with pytest.raises(BadInput, match=r"t\.parquet does not exist"):
        rows_of(tmp_path / "t.parquet")
    with pytest.raises(BadInput, match="holds no CSV, JSON lines or Parquet file of trades"):
        check(tmp_path)


def test_the_command_prints_the_findings_and_rejects_options_of_bars(tmp_path: Path) -> None:
    register_all()
    clean = CliRunner().invoke(app, ["data", "check", "--trades", str(write(tmp_path, trades()))])
    assert clean.exit_code == 0, clean.output
    assert clean.output.splitlines() == [
        "trades.csv",
        "  trades          780 from 2024-03-07T14:30:00Z to 2024-03-08T20:59:00Z",
        "  sessions        REGULAR 780",
        "  duplicates      0",
        "  rejected rows   0",
        "  SPY             780 trades of 7,800 units on 2 days",
        "                  longest time without a trade in a session: 60 s from 2024-03-07T14:30:00Z",
        "  no finding",
    ]
    gap = write(tmp_path, trades()[:100] + trades()[160:])
    found = CliRunner().invoke(app, ["data", "check", "--trades", str(gap), "--json", "-"])
    assert found.exit_code == 1
    assert json.loads(found.output)[0]["symbols"]["SPY"]["largest_gap"]["seconds"] == 3660
    refused = CliRunner().invoke(app, ["data", "check", "--trades", str(gap), "--interval", "1m"])
    assert isinstance(refused.exception, BadInput)
    assert str(refused.exception).startswith("--interval applies to files of bars")
