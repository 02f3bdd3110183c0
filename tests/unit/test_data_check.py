"""`data check` and the warnings of a backtest name what is doubtful about the rows of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from configs.settings import load_settings
from dataflows import backtest
from dataflows.research.data_check import FileCheck, check_files
from deploy.cli import app, register_all
from operators.bar_completion import FeedSettings
from schemas.errors import BadInput

NEW_YORK = ZoneInfo("America/New_York")
HEADER = "time,open,high,low,close,volume"
DAYS = (date(2024, 3, 7), date(2024, 3, 8), date(2024, 3, 11))
Row = tuple[datetime, float]


def minutes(days: tuple[date, ...] = DAYS, *, first_hour: int = 9, count: int = 390) -> list[Row]:
    """Return opens in New York with closes that change by a cent."""
    return [
        (
            datetime(day.year, day.month, day.day, first_hour, 30, tzinfo=NEW_YORK) + timedelta(minutes=n),
            100 + n % 7 / 100,
        )
        for day in days
        for n in range(count)
    ]


def write(folder: Path, rows: list[Row], *, is_local: bool = False, extra: tuple[str, ...] = ()) -> Path:
    path = folder / "SPY.csv"
    texts = [f"{time.replace(tzinfo=None) if is_local else time},{c},{c},{c},{c},100" for time, c in rows]
    path.write_text("\n".join([HEADER, *texts, *extra]) + "\n")
    return path


def check(path: Path, **options: Any) -> FileCheck:
    (found,) = check_files([path], FeedSettings(**options))
    return found


def test_a_clean_file_has_no_finding(tmp_path: Path) -> None:
    found = check(write(tmp_path, minutes()))
    assert found.findings == []
    assert (found.rows, found.interval, found.session, found.duplicates, found.rejected) == (
        1170,
        "1m",
        "regular",
        0,
        0,
    )
    assert (found.first, found.last) == ("2024-03-07T14:30:00Z", "2024-03-11T19:59:00Z")
    assert found.session_rows == {"REGULAR": 1170}
    symbol = found.symbols["SPY"]
    assert (symbol.bars, symbol.days, symbol.missing, symbol.gaps) == (1170, 3, 0, 0)


def drop(rows: list[Row]) -> list[Row]:
    return rows[:100] + rows[110:200] + rows[203:]


def spike(rows: list[Row]) -> list[Row]:
    return [(time, price * 1.2 if n == 500 else price) for n, (time, price) in enumerate(rows)]


def split(rows: list[Row]) -> list[Row]:
    return [(time, price / 4 if n >= 780 else price) for n, (time, price) in enumerate(rows)]


def stale(rows: list[Row]) -> list[Row]:
    return [(time, 100.5 if 300 <= n < 340 else price) for n, (time, price) in enumerate(rows)]


def repeat(rows: list[Row]) -> list[Row]:
    return [*rows, rows[7]]


@pytest.mark.parametrize(
    ("change", "findings"),
    [
        (drop, []),
        (spike, ["SPY: 1 outlier, the first one +20.0% at 2024-03-08T16:20:00Z"]),
        (split, ["SPY: a jump like a split of 4:1 at 2024-03-11T13:30:00Z"]),
        (stale, ["SPY: the price repeats for 40 bars from 2024-03-07T19:30:00Z"]),
        (
            repeat,
            [
                "1 row is rejected, the first one in line 1172: field time must be after 2024-03-07T14:37:00Z of "
                "SPY, found 2024-03-07T14:37:00Z",
                "1 row repeats the time of another row of the symbol",
            ],
        ),
    ],
)
def test_each_fault_of_a_file_is_found(
    change: Callable[[list[Row]], list[Row]], findings: list[str], tmp_path: Path
) -> None:
    assert check(write(tmp_path, change(minutes()))).findings == findings


def test_gaps_are_counted_with_the_largest_one(tmp_path: Path) -> None:
    symbol = check(write(tmp_path, drop(minutes()))).symbols["SPY"]
    assert (symbol.gaps, symbol.missing) == (2, 13)
    assert symbol.largest_gap == {"time": "2024-03-07T16:10:00Z", "bars": 10}


@pytest.mark.parametrize(("first_hour", "count"), [(9, 390), (4, 900)])
def test_local_times_of_new_york_read_as_utc_are_noticed(first_hour: int, count: int, tmp_path: Path) -> None:
    path = write(tmp_path, minutes(first_hour=first_hour, count=count), is_local=True)
    (finding,) = check(path).findings
    assert finding.startswith("the times have no zone and were read as UTC: ")
    assert finding.endswith("If they are, set market_data.files.timezone (--timezone) to America/New_York")
    assert check(path, timezone="America/New_York").findings == []


@pytest.mark.parametrize(("first_hour", "count"), [(9, 390), (4, 900), (9, 30)])
def test_times_in_utc_without_a_zone_are_no_finding(first_hour: int, count: int, tmp_path: Path) -> None:
    rows = [(time.astimezone(ZoneInfo("UTC")), price) for time, price in minutes(first_hour=first_hour, count=count)]
    assert check(write(tmp_path, rows, is_local=True)).findings == []


@pytest.mark.parametrize(
    "zone", ["America/New_York", "America/Chicago", "America/Los_Angeles", "Europe/London", "Europe/Berlin", "UTC"]
)
def test_the_zone_of_local_times_is_suspected_from_the_session(zone: str, tmp_path: Path) -> None:
    rows = [(time.astimezone(ZoneInfo(zone)), price) for time, price in minutes((date(2024, 6, 3), date(2024, 6, 4)))]
    found = check(write(tmp_path, rows, is_local=True))
    assert found.suspected_zone == (None if zone == "UTC" else zone)
    assert check(write(tmp_path, rows)).suspected_zone is None, "the times have a zone"


def run(path: Path, **files: Any) -> dict[str, Any]:
    settings = load_settings().with_file_feed(files)
    _, summary = backtest.run(settings, [path])
    return summary


def test_a_backtest_says_which_interval_and_session_it_used(tmp_path: Path) -> None:
    summary = run(write(tmp_path, minutes(DAYS[:1])))
    assert (summary["bar_interval"], summary["session"]) == ("1m", "regular")
    assert "warnings" not in summary and "doubtful_data" not in summary


def test_a_backtest_warns_of_rejected_rows_and_of_local_times(tmp_path: Path) -> None:
    few = write(tmp_path, minutes(DAYS[:1]), extra=("x",) * 3)
    assert "warnings" not in run(few)
    summary = run(write(tmp_path, minutes(DAYS[:1]), extra=("x",) * 5))
    assert summary["warnings"] == [
        "5 of 395 rows were rejected, the first one in line 392 of SPY.csv: row must have 6 columns, found 1"
    ]
    assert summary["doubtful_data"]
    summary = run(write(tmp_path, minutes(DAYS[:1]), is_local=True))
    assert summary["warnings"][0].startswith("the times have no zone and were read as UTC")


def test_a_backtest_says_that_one_lot_costs_more_than_the_largest_position(tmp_path: Path) -> None:
    rows = [(time, price * 700) for time, price in minutes(DAYS[:1])]
    settings = load_settings().with_strategies(["buy_and_hold"])
    path = write(tmp_path, rows)
    _, summary = backtest.run(settings, [path])
    assert (summary["signals"], summary["orders"]) == (1, 0)
    (warning,) = summary["warnings"]
    assert warning.startswith(
        "SPY: one lot of 1 costs 70028, more than the largest position of 20000 (0.02 of the equity)"
    )
    assert "doubtful_data" not in summary
    _, summary = backtest.run(settings.with_file_feed({"calendar": "24/7"}), [path])
    assert summary["orders"] == 1, "on a market around the clock, symbols trade in fractions"


def test_commands_exit_with_1_for_doubtful_data_and_print_the_warnings_last(tmp_path: Path) -> None:
    register_all()
    runner = CliRunner()
    local, clean = write(tmp_path, minutes(DAYS[:1]), is_local=True), tmp_path / "clean"
    clean.mkdir()
    write(clean, minutes(DAYS[:1]))
    result = runner.invoke(app, ["backtest", "--bars", str(local), "--json", str(tmp_path / "out.json")])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("warning: the times have no zone and were read as UTC")
    assert json.loads((tmp_path / "out.json").read_text())["doubtful_data"] is True
    assert runner.invoke(app, ["backtest", "--bars", str(clean)]).exit_code == 0
    result = runner.invoke(app, ["data", "check", str(local), str(clean), "--json", "-"])
    assert result.exit_code == 1
    assert [len(one["findings"]) for one in json.loads(result.stdout)] == [1, 0]
    result = runner.invoke(app, ["data", "check", str(clean)])
    assert (result.exit_code, result.stdout.splitlines()[-1].strip()) == (0, "no finding")


def test_a_file_that_cannot_be_read_is_a_finding_and_a_missing_one_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, minutes(DAYS[:1]))
    assert check(path, bar_interval="1h").findings == [
        "file SPY.csv has bars of 1m, but the setting bar_interval (--interval) is 1h"
    ]
    with pytest.raises(BadInput, match="does not exist"):
        list(check_files([tmp_path / "gone.csv"], FeedSettings()))


def wick(rows: list[Row]) -> list[str]:
    """Return rows of one file whose high of bar 700 is far from all other prices."""
    return [f"{time},{c},{180 if n == 700 else c},{c},{c},100" for n, (time, c) in enumerate(rows)]


def spike_of_bars(rows: list[Row]) -> list[Row]:
    return [(time, price * 1.3 if n in (500, 501, 502) else price) for n, (time, price) in enumerate(rows)]


def last_jump(rows: list[Row]) -> list[Row]:
    return [*rows[:-1], (rows[-1][0], 138.0)]


def move_that_lasts(rows: list[Row]) -> list[Row]:
    return [(time, price * 1.25 if n >= 500 else price) for n, (time, price) in enumerate(rows)]


def split_in_a_session(rows: list[Row]) -> list[Row]:
    return [(time, price / 4 if n >= 500 else price) for n, (time, price) in enumerate(rows)]


def without_second_day(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row[0].day != 8]


def short_day(rows: list[Row]) -> list[Row]:
    return rows[:520] + rows[780:]


@pytest.mark.parametrize(
    ("change", "findings"),
    [
        (spike_of_bars, ["SPY: 1 outlier, the first one +30.0% at 2024-03-08T16:20:00Z"]),
        (last_jump, ["SPY: 1 outlier, the first one +38.0% at 2024-03-11T19:59:00Z"]),
        (move_that_lasts, []),
        (split_in_a_session, ["SPY: a jump like a split of 4:1 at 2024-03-08T16:20:00Z"]),
        (without_second_day, ["SPY: 1 session has no row, the first one 20240308"]),
        (short_day, []),
    ],
)
def test_faults_that_last_longer_than_a_bar_are_found(
    change: Callable[[list[Row]], list[Row]], findings: list[str], tmp_path: Path
) -> None:
    assert check(write(tmp_path, change(minutes()))).findings == findings


def test_a_wick_far_from_all_other_prices_is_an_outlier(tmp_path: Path) -> None:
    found = check(write(tmp_path, [], extra=tuple(wick(minutes()))))
    assert found.findings == ["SPY: 1 outlier, the first one +80.0% at 2024-03-08T19:40:00Z"]
    assert found.symbols["SPY"].outliers[0]["price"] == 180


def test_a_symbol_that_trades_seldom_may_have_no_row_on_a_day(tmp_path: Path) -> None:
    rows = [row for n, row in enumerate(without_second_day(minutes())) if n % 11 in (0, 4)]
    found = check(write(tmp_path, rows), bar_interval="1m")
    assert found.symbols["SPY"].missing_days == [20240308]
    assert found.findings == []


def test_rows_on_a_holiday_are_a_finding(tmp_path: Path) -> None:
    found = check(write(tmp_path, minutes((date(2024, 7, 3), date(2024, 7, 4), date(2024, 7, 5)))))
    assert found.closed == 390
    assert found.findings == [
        "390 rows lie outside all sessions, such as holidays; check the calendar and the time zone"
    ]


def test_rows_without_volume_are_counted(tmp_path: Path) -> None:
    rows = tuple(f"{time},10,10,10,10,{n % 2}" for n, (time, _) in enumerate(minutes()))
    found = check(write(tmp_path, [], extra=rows))
    assert (found.no_volume, found.symbols["SPY"].coverage) == (585, 585 / 1169)
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "SPY.csv")])
    assert "  without volume  585 rows, which are not trades" in result.stdout


@pytest.mark.parametrize(("count", "is_warned"), [(1, True), (2, True), (3, True), (4, False)])
def test_a_short_file_that_proves_no_interval_is_a_finding(count: int, is_warned: bool, tmp_path: Path) -> None:
    found = check(write(tmp_path, minutes(DAYS[:1])[:count]))
    assert [finding.endswith("set market_data.files.bar_interval (--interval)") for finding in found.findings] == (
        [True] if is_warned else []
    )


def test_minutes_that_are_often_missing_are_minutes(tmp_path: Path) -> None:
    rows = [row for n, row in enumerate(minutes()) if n * 7919 % 10 < 4 and n % 3]
    assert check(write(tmp_path, rows)).findings == []
