"""The windows of a walk-forward: a training period, then a test period, one after the other over the bars.

Windows start at midnight of the exchange: of New York for XNYS, of UTC for a market that never closes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from dataflows.research.sweeps.trial_search import ALL_BARS, Period
from operators.bar_completion import Calendar
from schemas.errors import BadInput

WINDOWS_MAX = 1000
_DURATION = re.compile(r"(\d{1,5})([dw])")
_DAYS = {"d": 1, "w": 7}
_ZONES: dict[Calendar, tzinfo] = {"XNYS": ZoneInfo("America/New_York"), "24/7": UTC}


class WindowLengths(NamedTuple):
    """Lengths in calendar days. `gap_days` lie between a training period and its test period.

    With `anchored`, each training period starts with the bars; else it has `train_days`.
    """

    train_days: int
    test_days: int
    gap_days: int = 0
    anchored: bool = False


class WalkForwardWindow(NamedTuple):
    """The periods of one window, as [start, end)."""

    train: Period
    test: Period


def parse_days(name: str, text: str) -> int:
    """Return a duration such as 60d or 8w in calendar days. Raises BadInput.

    >>> parse_days("train", "60d"), parse_days("test", "2w")
    (60, 14)
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"{name} must be a number of days or weeks, such as 60d or 8w, found {text!r}")
    return int(match[1]) * _DAYS[match[2]]


def window_lengths(train: str, test: str, purge: str | None, embargo: str | None, *, anchored: bool) -> WindowLengths:
    """Return the lengths. `purge` and `embargo` together are the gap. Raises BadInput."""
    train_days, test_days = parse_days("train", train), parse_days("test", test)
    for name, days in (("train", train_days), ("test", test_days)):
        if days < 1:
            raise BadInput(f"{name} must be at least 1d, found {days}d")
    gap_days = sum(parse_days(name, text) for name, text in (("purge", purge), ("embargo", embargo)) if text)
    return WindowLengths(train_days, test_days, gap_days, anchored)


def walk_forward_windows(
    first_ns: int, last_ns: int, calendar: Calendar, lengths: WindowLengths, *, period: Period = ALL_BARS
) -> list[WalkForwardWindow]:
    """Return the windows of bars from `first_ns` to `last_ns`, which lie in `period`. Raises BadInput.

    A training period from the first bar starts with `period`. The last test ends with `period`, and may be shorter.

    >>> from operators.trading.intervals import DAY_NS
    >>> one = walk_forward_windows(0, 5 * DAY_NS, "24/7", WindowLengths(3, 2))
    >>> [(window.train.end[:10], window.test.start[:10], window.test.end) for window in one]
    [('1970-01-04', '1970-01-04', '1970-01-06T00:00:00+00:00'), ('1970-01-06', '1970-01-06', None)]
    """
    zone = _ZONES[calendar]
    first, last = (datetime.fromtimestamp(ns / 1e9, zone).date() for ns in (first_ns, last_ns))
    needed = lengths.train_days + lengths.gap_days
    days = (last - first).days + 1
    if days <= needed:
        raise BadInput(
            f"the bars cover {days} days, from {first} to {last}; the first test period starts after {needed} days: "
            "use shorter periods or more bars"
        )
    windows = list(_windows(first, last, zone, lengths))
    if len(windows) > WINDOWS_MAX:
        raise BadInput(
            f"the bars have {len(windows):,} test periods, at most {WINDOWS_MAX:,} are run; use longer test periods"
        )
    windows = [
        WalkForwardWindow(Period(period.start, train.end) if train.start == _midnight(first, zone) else train, test)
        for train, test in windows
    ]
    windows[-1] = windows[-1]._replace(test=Period(windows[-1].test.start, period.end))
    return windows


def _windows(first: date, last: date, zone: tzinfo, lengths: WindowLengths) -> Iterator[WalkForwardWindow]:
    test_start = first + timedelta(days=lengths.train_days + lengths.gap_days)
    while test_start <= last:
        train_end = test_start - timedelta(days=lengths.gap_days)
        train_start = first if lengths.anchored else train_end - timedelta(days=lengths.train_days)
        test_end = test_start + timedelta(days=lengths.test_days)
        yield WalkForwardWindow(
            train=Period(_midnight(train_start, zone), _midnight(train_end, zone)),
            test=Period(_midnight(test_start, zone), _midnight(test_end, zone)),
        )
        test_start = test_end


def _midnight(day: date, zone: tzinfo) -> str:
    return datetime.combine(day, time(), zone).isoformat()
