"""XNYS sessions around holidays, early closes and clock changes, checked against dates from the exchange's notices."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import takewhile

import numpy as np
import pytest

from dataflows.sources.trading_calendar import TradingCalendar
from schemas.records import CONTINUOUS, POST, PRE, REGULAR

MINUTE_NS = 60 * 10**9


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def sessions(calendar: TradingCalendar, first: str, last: str) -> dict[str, list[str]]:
    """Return `{trading day and session: [first open, last open]}` in UTC."""
    opens_by_session: dict[str, list[str]] = {}
    for minute in takewhile(lambda m: m.open_ns < ns(last), calendar.minutes(ns(first), MINUTE_NS)):
        text = datetime.fromtimestamp(minute.open_ns / 1e9, UTC).strftime("%m-%d %H:%M")
        opens_by_session.setdefault(f"{minute.trading_day} {minute.session}", [text, text])[1] = text
    return opens_by_session


def test_an_early_close_ends_the_regular_session_at_one_and_the_post_market_at_five() -> None:
    # Thanksgiving 2013 is a holiday. The Friday after it closes at 13:00 New York time, 18:00 UTC.
    assert sessions(TradingCalendar("XNYS"), "2013-11-28T00:00", "2013-12-02T10:00") == {
        "20131127 POST": ["11-28 00:00", "11-28 00:59"],
        f"20131129 {PRE}": ["11-29 09:00", "11-29 14:29"],
        f"20131129 {REGULAR}": ["11-29 14:30", "11-29 17:59"],
        f"20131129 {POST}": ["11-29 18:00", "11-29 21:59"],
        f"20131202 {PRE}": ["12-02 09:00", "12-02 09:59"],
    }


@pytest.mark.parametrize(
    ("day", "pre", "regular"),
    [
        ("2013-03-08", "09:00", "14:30"),
        ("2013-03-11", "08:00", "13:30"),
        ("2013-11-01", "08:00", "13:30"),
        ("2013-11-04", "09:00", "14:30"),
    ],
)
def test_sessions_use_new_york_time_over_a_change_of_clock(day: str, pre: str, regular: str) -> None:
    opens_by_session = sessions(TradingCalendar("XNYS"), f"{day}T05:00", f"{day}T23:59")
    number = day.replace("-", "")
    assert opens_by_session[f"{number} PRE"][0].endswith(pre)
    assert opens_by_session[f"{number} REGULAR"][0].endswith(regular)


def test_classify_separates_open_excluded_and_closed_times() -> None:
    times = np.array(
        [ns(f"2013-{t}") for t in ("10-05T15:00", "10-07T08:00", "10-07T13:30", "10-07T20:00", "10-08T00:00")]
    )
    is_open, excluded = TradingCalendar("XNYS", "regular").classify(times)
    assert is_open.tolist() == [False, False, True, False, False]
    assert excluded.tolist() == [False, True, False, True, False]
    is_open, excluded = TradingCalendar("XNYS").classify(times)
    assert is_open.tolist() == [False, True, True, True, False]
    assert not excluded.any()


def test_minutes_and_lookups_agree_for_every_minute_of_two_years_in_any_order_of_loading() -> None:
    calendar = TradingCalendar("XNYS")
    minutes = calendar.minutes(ns("2012-12-20T00:00"), 30 * MINUTE_NS)
    first = [next(minutes) for _ in range(100)]
    calendar.classify(np.array([ns("2010-01-01T00:00"), ns("2015-01-01T00:00")]))  # loads years before and after
    opens = [minute.open_ns for minute in [*first, *takewhile(lambda m: m.open_ns < ns("2014-12-20T00:00"), minutes)]]
    all_times = np.arange(ns("2012-12-20T00:00"), ns("2014-12-20T00:00"), 30 * MINUTE_NS)
    assert opens == all_times[calendar.classify(all_times)[0]].tolist()


def test_around_the_clock_has_every_minute_and_utc_days() -> None:
    opens_by_session = sessions(TradingCalendar("24/7"), "2013-12-31T23:58", "2014-01-01T00:02")
    assert opens_by_session == {
        f"20131231 {CONTINUOUS}": ["12-31 23:58", "12-31 23:59"],
        f"20140101 {CONTINUOUS}": ["01-01 00:00", "01-01 00:01"],
    }


def test_session_end_is_that_of_the_session_that_contains_the_time() -> None:
    calendar = TradingCalendar("XNYS", "regular")
    # The Friday after Thanksgiving closes at 18:00 UTC, its post-market at 22:00.
    assert calendar.session_end(ns("2013-11-29T17:59")) == ns("2013-11-29T18:00")
    assert calendar.session_end(ns("2013-11-29T18:00")) == ns("2013-11-29T22:00")
    assert calendar.session_end(ns("2013-11-30T18:00")) is None


@pytest.mark.parametrize(
    ("calendar", "first", "last", "minutes"),
    [
        (TradingCalendar("XNYS", "regular"), "2024-01-02T20:59", "2024-01-02T21:30", 1),
        (TradingCalendar("XNYS"), "2024-01-02T20:59", "2024-01-02T21:30", 31),
        (TradingCalendar("XNYS", "regular"), "2024-01-05T21:00", "2024-01-08T14:30", 0),  # a weekend
        (TradingCalendar("XNYS", "regular"), "2024-01-05T20:00", "2024-01-08T14:35", 65),
        (TradingCalendar("XNYS"), "2024-01-06T01:00", "2024-01-08T09:00", 0),
        (TradingCalendar("XNYS"), "2024-01-05T09:00", "2024-01-08T09:00", 16 * 60),
        (TradingCalendar("XNYS", "regular"), "2013-11-29T14:30", "2013-12-02T14:30", 210),  # an early close
        (TradingCalendar("24/7"), "2024-01-06T00:00", "2024-01-07T12:00", 36 * 60),
        (TradingCalendar("XNYS"), "2024-01-05T15:00", "2024-01-05T15:00", 0),
        (TradingCalendar("XNYS"), "2024-01-05T15:00", "2024-01-05T14:00", 0),
    ],
)
def test_the_open_time_between_two_times_leaves_out_nights_weekends_and_excluded_sessions(
    calendar: TradingCalendar, first: str, last: str, minutes: int
) -> None:
    assert calendar.open_time_ns(ns(first), ns(last)) == minutes * MINUTE_NS
