"""Files of the usual vendors are read as they are, and everything that could be misread is refused in one sentence."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from dataflows.sources.bar_files import CSV_ENDINGS
from dataflows.sources.bar_layouts import symbol_from_file_name
from dataflows.sources.file_feed import FeedSettings, FileFeed
from schemas.errors import BadInput
from schemas.records import Bar, DeadLetter
from tests.unit.vendor_files import NEW_YORK, PRICES, VENDOR_FILES, VendorFile


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("case", VENDOR_FILES, ids=lambda case: case.vendor)
def test_files_of_vendors_are_read_as_they_are(case: VendorFile, tmp_path: Path) -> None:
    feed = FileFeed([write(tmp_path / case.name, case.text)], FeedSettings(**case.options))
    records = [record for time_slice in feed for record in time_slice.records]
    assert [
        (record.symbol, record.open_ns, record.open, record.high, record.low, record.close, record.traded)
        for record in records
        if isinstance(record, Bar)
    ] == [(case.symbol, ns * 10**9, 100.0, 101.0, 99.0, 100.5, True) for ns in (1704205800, 1704205860)]
    assert len(records) == 2


def test_european_and_us_dates_are_read_if_the_file_proves_their_order(tmp_path: Path) -> None:
    for name, days in (("US.csv", ("01/31/2024", "02/01/2024")), ("EU.csv", ("31/01/2024", "01/02/2024"))):
        rows = [f"{day} 14:30,{PRICES},10" for day in days]
        path = write(tmp_path / name, "\n".join(["time,open,high,low,close,volume", *rows]))
        bars = [r for time_slice in FileFeed([path]) for r in time_slice.records if isinstance(r, Bar) and r.traded]
        assert [bar.trading_day for bar in bars] == [20240131, 20240201]


HEADER = "time,open,high,low,close,volume"
ROW = f"2024-01-02T14:30:00Z,{PRICES},10"
TOMORROW = f"{datetime.now(UTC).year + 1}-01-03T15:00:00Z"
REFUSED = [
    (f"{HEADER}\n45293.6041666667,{PRICES},10", {}, "found the day number of a spreadsheet '45293.6041666667'; export"),
    (f"{HEADER}\n45293,{PRICES},10", {}, "found the day number of a spreadsheet '45293'; export times as"),
    (f"{HEADER}\n01/02/2024 09:30,{PRICES},10", {}, "(--date-order) to mdy (month first) or dmy"),
    (f"{HEADER}\n01/13/2024,{PRICES},10\n13/01/2024,{PRICES},10", {}, "rows of both orders; set market_data.files."),
    (f"{HEADER}\n01/02/24,{PRICES},10", {}, "must be an ISO time or an epoch number, found '01/02/24'"),
    (f"{HEADER}\n93000,{PRICES},10", {}, "field time must be a time, found the day number of a spreadsheet '93000'"),
    (
        f"{HEADER}\n09:30:00,{PRICES},10",
        {},
        "must have a date, found '09:30:00'; write the date before it, or in a column date",
    ),
    (f"{HEADER}\n86400,{PRICES},10", {}, "'86400'"),
    (f"{HEADER}\n1979-12-31T15:00:00Z,{PRICES},10", {}, "must lie between 1980 and tomorrow, found '1979-12-31T15:00"),
    (f"{HEADER}\n{TOMORROW},{PRICES},10", {}, f"must lie between 1980 and tomorrow, found '{TOMORROW}'"),
    (f"{HEADER}\n17042058000,{PRICES},10", {}, "must lie between 1980 and tomorrow, found '17042058000'"),
    (
        f"{HEADER}\n2024-01-02T14:30:00Z,1e-10,1e-10,1e-10,1e-10,10",
        {},
        "field open must be at least 1e-09, found 1e-10",
    ),
    (
        "time;open;high;low;close;volume\n2024-01-02T14:30:00Z;1,5;1,5;1,5;1,5;10",
        {},
        "set market_data.files.decimal (--decimal) to ','",
    ),
    (
        f"{HEADER}\n2024-01-02T14:30:00Z,1.5,1.5,1.5,1.5,10",
        {"decimal": ","},
        "field open must be a number, found '1.5'",
    ),
    (
        f"{HEADER}\n2024-01-02T14:30:00Z,1,1,1,1,0\n",
        {},
        "every row in X.csv has volume 0, so that nothing traded; for a",
    ),
    ("time,open,high,low,close\n2024-01-02T14:30:00Z,1,1,1,1", {}, "no column for volume; its columns are time, open"),
    (
        "Price,Close,Close\nTicker,AAPL,MSFT\nDate,,\n2024-01-02,1,1",
        {},
        "has columns of several symbols, found AAPL, MSFT",
    ),
    ("open,high,low,close,volume\n1,1,1,1,1", {}, "has no column for time"),
    (f"{HEADER}\n2024-01-06T14:30:00Z,1,1,1,1,1", {}, "for a market around the clock, set market_data.files.calendar"),
]


@pytest.mark.parametrize(("text", "options", "message"), REFUSED)
def test_what_could_be_misread_is_refused_in_one_sentence(
    text: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as error:
        list(FileFeed([write(tmp_path / "X.csv", text)], FeedSettings(**options)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_row_of_another_time_format_in_a_good_file_is_a_dead_letter(tmp_path: Path) -> None:
    path = write(tmp_path / "X.csv", "\n".join([HEADER, ROW, f"45293.6,{PRICES},10", f"86400,{PRICES},10"]))
    records = [record for time_slice in FileFeed([path]) for record in time_slice.records]
    assert [type(record) for record in records] == [Bar, DeadLetter, DeadLetter]


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("AAPL.csv", "AAPL"),
        ("AAPL_2013.csv.gz", "AAPL"),
        ("BRK.B_2013-10-07.csv", "BRK.B"),
        ("BRK-B.csv", "BRK-B"),
        ("BTC-USD.csv", "BTC-USD"),
        ("BTCUSDT-1h-2024-01.csv", "BTCUSDT"),
        ("daily_adjusted_IBM.csv", "IBM"),
        ("intraday_5min_IBM.csv", "IBM"),
        ("COINBASE_BTCUSD, 60.csv", "BTCUSD"),
        ("NYSE_BRK.B, 1D.csv", "BRK.B"),
        ("CME_MINI_ES1!, 1D_74842.csv", "ES1!"),
        ("fx_daily_EUR_USD.csv", "EUR-USD"),
        ("fx_intraday_5min_EUR_USD.csv", "EUR-USD"),
        ("currency_daily_BTC_USD.csv", "BTC-USD"),
        ("^spx_d.csv", "^SPX"),
        ("spy.us.txt", "SPY"),
        ("IBM (1).csv", "IBM"),
        ("IBM_1min.txt", "IBM"),
        ("EURUSD_M1_202401020000_202401312359.csv", "EURUSD"),
    ],
)
def test_prefix_and_period_of_a_file_name_are_not_part_of_the_symbol(name: str, symbol: str) -> None:
    assert symbol_from_file_name(Path(name), CSV_ENDINGS) == symbol


def test_rows_without_volume_are_no_trades_unless_the_vendor_has_no_volume(tmp_path: Path) -> None:
    rows = [f"2024-01-02T14:3{n}:00Z,100,100,100,{100 - n},{volume}" for n, volume in enumerate((500, 0, 0, 7))]
    rows = [row.replace(",100,100,100,", ",100,100,90,") for row in rows]
    path = write(tmp_path / "X.csv", "\n".join([HEADER, *rows]))
    feed = FileFeed([path])
    bars = [record for time_slice in feed for record in time_slice.records if isinstance(record, Bar)]
    assert [(bar.close, bar.volume, bar.traded) for bar in bars] == [
        (100, 500, True),
        (100, 0, False),
        (100, 0, False),
        (97, 7, True),
    ]
    assert (feed.counts.no_volume, feed.counts.no_trade_bars) == (2, 2)
    index = FileFeed([path], FeedSettings(volume="none"))
    bars = [record for time_slice in index for record in time_slice.records if isinstance(record, Bar)]
    assert [(bar.close, bar.volume, bar.traded) for bar in bars] == [(100 - n, 0, True) for n in range(4)]


def test_a_symbol_without_volume_before_its_first_trade_has_no_bar(tmp_path: Path) -> None:
    path = write(tmp_path / "X.csv", f"{HEADER}\n2024-01-02T14:30:00Z,1,1,1,1,0\n2024-01-02T14:31:00Z,2,2,2,2,5\n")
    assert [len(time_slice.records) for time_slice in FileFeed([path])] == [0, 1]


def test_date_and_time_columns_of_parquet_are_joined(tmp_path: Path) -> None:
    prices = {name: pa.array([10.0, 10.0]) for name in ("open", "high", "low", "close", "volume")}
    columns = {"date": pa.array(["20240102"] * 2), "time": pa.array([93000, 93100]), **prices}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "A.parquet")
    bars = [
        record
        for time_slice in FileFeed([tmp_path / "A.parquet"], FeedSettings(**NEW_YORK))
        for record in time_slice.records
    ]
    assert [bar.open_ns for bar in bars if isinstance(bar, Bar)] == [1704205800 * 10**9, 1704205860 * 10**9]
