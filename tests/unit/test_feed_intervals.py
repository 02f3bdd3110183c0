"""The interval of bars comes from the rows, or from the settings. Mixed and unexpected intervals are refused."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.sources.bar_files import open_table
from dataflows.sources.blocks import SymbolTable
from dataflows.sources.feed_scan import scan_files, scan_settings
from dataflows.sources.file_feed import FeedSettings, FileFeed
from dataflows.sources.rows import RowRules
from schemas.errors import BadInput
from schemas.records import Bar

NEW_YORK = ZoneInfo("America/New_York")
HEADER = "time,open,high,low,close,volume"
DAYS = [date(2024, 7, 1), date(2024, 7, 2), date(2024, 7, 3), date(2024, 7, 5), date(2024, 7, 8)]  # an early close


def write(path: Path, times: Iterable[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *(f"{time},10,11,9,{10 + n % 7 / 10},100" for n, time in enumerate(times))]))
    return path


def read(paths: Sequence[Path], **options: Any) -> list[Bar]:
    records = [record for time_slice in FileFeed(paths, FeedSettings(**options)) for record in time_slice.records]
    assert all(isinstance(record, Bar) for record in records), records
    return [record for record in records if isinstance(record, Bar)]


def new_york(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, NEW_YORK).strftime("%Y-%m-%d %H:%M")


def session_times(days: Sequence[date], step: timedelta, *, until_early_close: str = "2024-07-03") -> list[str]:
    """Return the opens of the regular session in New York, with their offset."""
    times = []
    for day in days:
        time = datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK)
        end = time.replace(hour=13 if day.isoformat() == until_early_close else 16, minute=0)
        while time < end:
            times.append(time.isoformat())
            time += step
    return times


@pytest.mark.parametrize(
    "times",
    [
        [day.isoformat() for day in DAYS],
        [f"{day.isoformat()} 00:00:00-04:00" for day in DAYS],
        [f"{day.isoformat()}T04:00:00Z" for day in DAYS],
        [f"{day:%Y%m%d}" for day in DAYS],
        [str(int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())) for day in DAYS],
        [f"{day.isoformat()} 09:30:00-04:00" for day in DAYS],
        [f"{day.isoformat()} 16:00:00-04:00" for day in DAYS],
    ],
)
@pytest.mark.parametrize("timezone", ["UTC", "America/New_York", "Europe/Berlin"])
def test_daily_rows_are_one_bar_per_session_that_ends_at_its_close(
    tmp_path: Path, times: list[str], timezone: str
) -> None:
    bars = read([write(tmp_path / "A.csv", times)], timezone=timezone)
    assert [(bar.trading_day, new_york(bar.open_ns), new_york(bar.ts_ns), bar.traded) for bar in bars] == [
        (20240701, "2024-07-01 09:30", "2024-07-01 16:00", True),
        (20240702, "2024-07-02 09:30", "2024-07-02 16:00", True),
        (20240703, "2024-07-03 09:30", "2024-07-03 13:00", True),
        (20240705, "2024-07-05 09:30", "2024-07-05 16:00", True),
        (20240708, "2024-07-08 09:30", "2024-07-08 16:00", True),
    ]


def test_a_year_of_daily_rows_has_one_bar_for_each_session_over_both_clock_changes(tmp_path: Path) -> None:
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(366)]
    feed = FileFeed([write(tmp_path / "A.csv", [day.isoformat() for day in days if day.weekday() < 5])])
    bars = [record for time_slice in feed for record in time_slice.records]
    assert len(bars) == 252
    assert feed.counts.closed == 262 - 252
    assert all(new_york(time_slice.ts_ns).endswith(("16:00", "13:00")) for time_slice in FileFeed([tmp_path]))


def test_hourly_bars_start_at_the_open_and_the_last_one_is_short(tmp_path: Path) -> None:
    bars = read([write(tmp_path / "A.csv", session_times(DAYS[:3], timedelta(hours=1)))])
    assert all(bar.traded for bar in bars)
    assert [(new_york(bar.open_ns), new_york(bar.ts_ns)) for bar in bars[5:10]] == [
        ("2024-07-01 14:30", "2024-07-01 15:30"),
        ("2024-07-01 15:30", "2024-07-01 16:00"),
        ("2024-07-02 09:30", "2024-07-02 10:30"),
        ("2024-07-02 10:30", "2024-07-02 11:30"),
        ("2024-07-02 11:30", "2024-07-02 12:30"),
    ]
    assert [new_york(bar.ts_ns) for bar in bars[-2:]] == ["2024-07-03 12:30", "2024-07-03 13:00"]


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=4), timedelta(days=1)])
def test_a_feed_of_long_bars_continues_after_any_slice(tmp_path: Path, step: timedelta) -> None:
    path = write(tmp_path / "A.csv", session_times(DAYS, step))
    feed = FileFeed([path])
    time_slices, states = [], [feed.state()]
    for time_slice in feed:
        time_slices.append(time_slice)
        states.append(feed.state())
    assert len(time_slices) == len(session_times(DAYS, step))
    for position, state in enumerate(states):
        resumed = FileFeed([path]).resume(state)
        assert list(resumed) == time_slices[position:]
        assert resumed.counts == feed.counts
    with pytest.raises(BadInput, match="the feed was stopped with bars of "):
        FileFeed(
            [write(tmp_path / "A.csv", session_times(DAYS, timedelta(minutes=30)))], FeedSettings(bar_interval="30m")
        ).resume(states[3])


def test_daily_rows_at_different_times_of_day_are_sorted_by_day(tmp_path: Path) -> None:
    times = ["2024-07-01T20:00:00Z", "2024-07-03T00:00:00Z", "2024-07-03T01:00:00Z", "2024-07-05", "2024-07-08"]
    bars = read([write(tmp_path / "A.csv", times)], bar_interval="1d")
    assert [bar.trading_day for bar in bars] == [20240701, 20240702, 20240703, 20240705, 20240708]


def test_hourly_rows_may_be_dated_by_their_ends(tmp_path: Path) -> None:
    ends = [
        f"2024-07-0{day} {time}" for day in (1, 2) for time in ("10:30", "11:30", "12:30", "13:30", "14:30", "15:30")
    ]
    ends += ["2024-07-01 16:00", "2024-07-02 16:00"]
    path = write(tmp_path / "A.csv", sorted(ends))
    bars = read([path], time_is="close", timezone="America/New_York", bar_interval="1h")
    assert [new_york(bar.open_ns)[-5:] for bar in bars[:7]] == [f"{hour:02}:30" for hour in range(9, 16)]
    assert len(bars) == 14 and all(bar.traded for bar in bars)


@pytest.mark.parametrize(
    ("step_s", "text"), [(60, "1m"), (300, "5m"), (900, "15m"), (1800, "30m"), (3600, "1h"), (10, "10s")]
)
@pytest.mark.parametrize("calendar", ["XNYS", "24/7"])
def test_intervals_are_recognized_on_any_calendar(tmp_path: Path, step_s: int, text: str, calendar: str) -> None:
    start = datetime(2024, 7, 1, 14, 0 if calendar == "24/7" else 30, tzinfo=UTC)
    start -= timedelta(hours=1)
    times = [(start + timedelta(seconds=step_s * n)).isoformat() for n in range(6)]
    feed = FileFeed([write(tmp_path / "A.csv", times)], FeedSettings(calendar=calendar))  # type: ignore[arg-type]
    assert (feed.settings.bar_interval, sum(1 for _ in feed)) == (text, 6)


@pytest.mark.parametrize("rows", [2, 3])
@pytest.mark.parametrize(("step_s", "text"), [(300, "5m"), (900, "15m"), (1800, "30m"), (3600, "1h")])
def test_the_only_distance_of_few_rows_is_the_interval_with_a_warning(
    tmp_path: Path, rows: int, step_s: int, text: str
) -> None:
    times = session_times(DAYS[:1], timedelta(seconds=step_s))[:rows]
    path = write(tmp_path / "A.csv", times)
    feed = FileFeed([path])
    assert (feed.settings.bar_interval, sum(1 for _ in feed)) == (text, rows)
    assert feed.scan.interval_warnings(FeedSettings()) == [
        f"only {rows} rows show that the bar interval is {text}; set market_data.files.bar_interval (--interval)"
    ]
    assert feed.scan.interval_warnings(FeedSettings(bar_interval=text)) == []
    assert FileFeed([path], FeedSettings(bar_interval="1m")).settings.bar_interval == "1m"


@pytest.mark.parametrize(
    "times",
    [
        ["09:31", "09:36"],  # not on the grid of 5m
        ["10:00", "11:00"],  # not on the grid of 1h from the open
        ["09:30", "09:35", "09:50"],
        ["09:30", "09:37"],
        ["09:30", "13:30"],
        ["09:30"],
    ],
)
def test_few_rows_that_prove_no_interval_are_minutes(tmp_path: Path, times: list[str]) -> None:
    feed = FileFeed([write(tmp_path / "A.csv", [f"2024-07-01T{time}:00-04:00" for time in times])])
    assert feed.settings.bar_interval == "1m"
    rows = f"the {len(times)} rows prove no interval and were read as bars"
    if len(times) == 1:
        rows = "the only row proves no interval and was read as a bar"
    (warning,) = feed.scan.interval_warnings(FeedSettings())
    assert warning == f"{rows} of 1m; set market_data.files.bar_interval (--interval)"
    assert feed.scan.interval_warnings(FeedSettings(bar_interval="1m")) == []


def test_few_rows_do_not_contradict_a_file_that_proves_its_interval(tmp_path: Path) -> None:
    minutes = write(tmp_path / "M.csv", session_times(DAYS[:1], timedelta(minutes=1)))
    few = write(tmp_path / "F.csv", session_times(DAYS[:1], timedelta(minutes=5))[:2])
    hours = write(tmp_path / "H.csv", session_times(DAYS[:1], timedelta(hours=1))[:2])
    assert FileFeed([few, minutes]).settings.bar_interval == "1m"
    assert FileFeed([few, hours]).settings.bar_interval == "1m"


@pytest.mark.parametrize("symbols", ["AA", "AB"])
def test_a_short_file_of_minutes_and_hours_is_refused(tmp_path: Path, symbols: str) -> None:
    minutes, hours = (session_times(DAYS[n : n + 1], timedelta(minutes=step)) for n, step in ((0, 1), (1, 60)))
    rows = [f"{time},{symbols[0]},1,1,1,1,1" for time in minutes[:5]]
    rows += [f"{time},{symbols[1]},1,1,1,1,1" for time in hours[:6]]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["time,symbol,open,high,low,close,volume", *rows]))
    with pytest.raises(BadInput, match=r"x\.csv mixes bars of 1m and of 1h"):
        FileFeed([path])


@pytest.mark.parametrize("seed", range(20))
def test_minutes_with_gaps_are_neither_refused_nor_longer(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    minutes = sorted(rng.sample(range(390), rng.randint(8, 60)))
    start = datetime(2024, 7, 1, 13, 30, tzinfo=UTC)
    feed = FileFeed([write(tmp_path / "A.csv", [(start + timedelta(minutes=n)).isoformat() for n in minutes])])
    assert feed.settings.bar_interval == "1m"


def test_sparse_minutes_stay_minutes(tmp_path: Path) -> None:
    rng = random.Random(3)
    minutes = sorted(rng.sample(range(390), 20))
    start = datetime(2024, 7, 1, 13, 30, tzinfo=UTC)
    feed = FileFeed([write(tmp_path / "A.csv", [(start + timedelta(minutes=n)).isoformat() for n in minutes])])
    assert feed.settings.bar_interval == "1m"


def test_symbols_that_take_turns_are_minutes_and_not_two_minutes(tmp_path: Path) -> None:
    start = datetime(2024, 7, 1, tzinfo=UTC)
    rows = [f"{(start + timedelta(minutes=n)).isoformat()},{'AB'[n % 2]},1,1,1,1,1" for n in range(60)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["time,symbol,open,high,low,close,volume", *rows]))
    assert FileFeed([path], FeedSettings(calendar="24/7")).settings.bar_interval == "1m"


def test_mixed_and_unexpected_intervals_are_refused_with_both_values(tmp_path: Path) -> None:
    daily = write(tmp_path / "D.csv", [day.isoformat() for day in DAYS])
    hourly = write(tmp_path / "H.csv", session_times(DAYS[:2], timedelta(hours=1)))
    minutes = session_times(DAYS[:1], timedelta(minutes=1))
    both = write(tmp_path / "M.csv", [*minutes, *session_times(DAYS[1:2], timedelta(hours=1))])
    weekly = write(tmp_path / "W.csv", [f"2024-0{month}-{day}" for month in (5, 6) for day in ("03", "10", "17", "24")])
    clock = write(
        tmp_path / "C.csv", [f"2024-07-0{day}T{hour}:00:00-04:00" for day in (1, 2) for hour in range(10, 16)]
    )
    seven = write(tmp_path / "S.csv", session_times(DAYS[:1], timedelta(minutes=7)))
    times = session_times(DAYS[:1], timedelta(minutes=1))[:60] + session_times(DAYS[1:2], timedelta(minutes=5))[:70]
    halves = write(tmp_path / "B.csv", times)
    for paths, options, message in (
        ([clock], {}, "file C.csv has bars of 1h that start on the hour and cross the open"),
        (
            [seven],
            {},
            "file S.csv has rows 7m apart: setting bar_interval (--interval) must divide 30m or be 1h, 2h, 4h or 1d",
        ),
        ([halves], {}, "B.csv mixes bars of 1m and of 5m"),
        ([daily, hourly], {}, "file D.csv has bars of 1d and file H.csv of 1h"),
        ([both], {}, "M.csv mixes bars of 1m and of 1h"),
        ([daily], {"bar_interval": "1h"}, "file D.csv has bars of 1d, but the setting bar_interval (--interval) is 1h"),
        (
            [hourly],
            {"bar_interval": "1d"},
            "file H.csv has bars of 1h, but the setting bar_interval (--interval) is 1d",
        ),
        (
            [hourly],
            {"bar_interval_s": 1800},
            "file H.csv has bars of 1h, but the setting bar_interval (--interval) is 30m",
        ),
        ([weekly], {}, "file W.csv has rows 7d apart; the longest interval of bars is 1d"),
    ):
        with pytest.raises(BadInput) as error:
            FileFeed(paths, FeedSettings(**options))
        assert message in str(error.value)


def rows_of_two_symbols() -> list[str]:
    start = datetime(2024, 7, 1, 13, 25, tzinfo=UTC)
    rng = random.Random(5)
    return [
        f"{(start + timedelta(minutes=n)).isoformat()},{symbol},10,11,9,{10 + n % 9 / 10},{n + 1}"
        for n in range(60)
        for symbol in ("B", "A")
        if rng.random() < 0.8
    ]


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(rows_of_two_symbols()))
def test_rows_in_any_order_give_the_bars_of_sorted_rows(
    order: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    header = "time,symbol,open,high,low,close,volume"
    for name, rows in (("sorted.csv", sorted(order)), ("shuffled.csv", order), ("reversed.csv", sorted(order)[::-1])):
        (folder / name).write_text("\n".join([header, *rows]))
    expected = read([folder / "sorted.csv"])
    assert sum(bar.traded for bar in expected) == len(order)
    assert read([folder / "shuffled.csv"]) == expected
    assert read([folder / "reversed.csv"]) == expected


def test_session_defaults_to_what_the_files_cover(tmp_path: Path) -> None:
    regular = write(tmp_path / "R.csv", session_times(DAYS[:2], timedelta(minutes=1)))
    early = write(tmp_path / "E.csv", [f"{DAYS[0]}T12:00:00Z", *session_times(DAYS[:2], timedelta(minutes=1))])
    assert (FileFeed([regular]).settings.session, len(read([regular]))) == ("regular", 780)
    assert FileFeed([early]).settings.session == "extended"
    assert FileFeed([regular, early]).settings.session == "extended"
    assert len(read([regular], session="extended")) == 390 + 240 + 330 + 390


def minutes_of(day: date, count: int, step: int = 1) -> list[str]:
    return session_times([day], timedelta(minutes=step))[:count]


@pytest.mark.parametrize(
    ("times", "intervals"),
    [
        (["2024-07-01", "2024-07-02", *minutes_of(DAYS[2], 200)], ("1m", "1d")),
        (["2024-07-01", "2024-07-02", *minutes_of(DAYS[1], 20)], ("1m", "1d")),
        (["2024-07-01", *minutes_of(DAYS[0], 200)], ("1m", "1d")),
        ([*minutes_of(DAYS[0], 20, 5), "2024-07-03"], ("5m", "1d")),
        (["2024-01-09", *minutes_of(date(2024, 1, 9), 200)], ("1m", "1d")),  # 19:00 in New York: post-market
        ([*minutes_of(DAYS[0], 200, 5), "2024-07-03", "2024-07-05"], ("5m", "1d")),
        (["2024-07-01 00:00:00-04:00", "2024-07-02 00:00:00-04:00", *minutes_of(DAYS[2], 3)], ("1m", "1d")),
        ([*session_times(DAYS[:2], timedelta(hours=1)), "2024-07-05", "2024-07-08"], ("1h", "1d")),
        ([time for day in DAYS for time in [day.isoformat(), *minutes_of(day, 60)]], ("1m", "1d")),
        ([*minutes_of(DAYS[0], 390), *minutes_of(DAYS[1], 390), *minutes_of(DAYS[2], 6, 30)], ("1m", "30m")),
    ],
)
def test_a_few_rows_of_another_interval_are_refused(
    tmp_path: Path, times: list[str], intervals: tuple[str, str]
) -> None:
    shorter, longer = intervals
    with pytest.raises(BadInput, match=rf"A\.csv mixes bars of {shorter} and of {longer}; pass one interval"):
        FileFeed([write(tmp_path / "A.csv", times)])


def test_rows_at_midnight_of_a_market_around_the_clock_are_minutes(tmp_path: Path) -> None:
    start, times = datetime(2024, 7, 1, tzinfo=UTC), []
    for day in (start + timedelta(days=n) for n in range(15)):
        count = {5: 0, 6: 1}.get(day.weekday(), 300)  # on Sundays a single row without a trade
        times += [(day + timedelta(minutes=n)).isoformat() for n in range(count)]
    assert FileFeed([write(tmp_path / "A.csv", times)], FeedSettings(calendar="24/7")).settings.bar_interval == "1m"


def test_a_single_minute_of_the_post_market_at_midnight_utc_is_a_minute(tmp_path: Path) -> None:
    day = date(2024, 1, 9)
    minutes = ["2024-01-09T00:00:00Z", *minutes_of(day, 200), "2024-01-09T22:00:00Z"]
    assert FileFeed([write(tmp_path / "A.csv", minutes)]).settings.bar_interval == "1m"


def test_a_last_daily_row_dated_by_the_present_is_a_daily_row(tmp_path: Path) -> None:
    times = [f"{day.isoformat()} 00:00:00-04:00" for day in DAYS] + ["2024-07-09 10:12:31-04:00"]
    assert FileFeed([write(tmp_path / "A.csv", times)]).settings.bar_interval == "1d"


def scan_of(path: Path, chunk_bytes: int) -> dict[str, Any]:
    options = FeedSettings()
    table = open_table(path, RowRules(scan_settings(options)), SymbolTable(), chunk_bytes)
    (scan,) = scan_files([table], options).files
    return asdict(scan) | {"seconds_of_hour": scan.seconds_of_hour.tolist()}


gaps = st.lists(st.sampled_from([1, 1, 1, 5, 60, 240, 1440]), min_size=1, max_size=60)
faults = st.sampled_from(["", "", "", "price", "time", "columns", "daily"])


@settings(max_examples=60, deadline=None)
@given(gaps=gaps, faults=st.lists(faults, min_size=60, max_size=60), repeats=st.integers(1, 4), data=st.data())
def test_a_scan_does_not_depend_on_the_borders_of_blocks(
    gaps: list[int],
    faults: list[str],
    repeats: int,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "x.csv"
    time, rows = datetime(2024, 7, 1, 13, 30, tzinfo=UTC), ["time,symbol,open,high,low,close,volume"]
    for index, minutes in enumerate(gaps * repeats):
        time += timedelta(minutes=minutes)
        fault = faults[index % len(faults)]
        text = {"time": "noon", "daily": f"{time:%Y-%m-%d}"}.get(fault, f"{time:%Y-%m-%d %H:%M}")
        row = f"{text},{'AAB'[index % 3]},1,1,1,{-1 if fault == 'price' else 1},1"
        rows.append(row + ",x" if fault == "columns" else row)
    path.write_text("\n".join(rows))
    chunks = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=3))
    whole = scan_of(path, 1 << 20)
    for chunk_bytes in chunks:
        assert scan_of(path, chunk_bytes) == whole
