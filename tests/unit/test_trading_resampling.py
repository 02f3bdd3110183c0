"""Longer bars equal those of pandas, are aligned to the session, and end with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.trading.history import BarHistory
from operators.trading.intervals import interval_ns
from operators.trading.resampling import BarResampler
from operators.trading.sessions import SessionBounds, SessionClock
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, POST, PRE, Bar, SessionPhase
from tests.builders import bar, corporate_action
from tests.unit.trading_harness import DAY, MINUTE_NS, OPEN_NS, Scripted, bars, minute, run, session

CLOSE_NS = OPEN_NS + 390 * MINUTE_NS
BOUNDS = SessionBounds(OPEN_NS, CLOSE_NS)
COLUMNS = ["open", "high", "low", "close", "volume"]


def random_bars(seed: int, count: int = 390, *, missing: float = 0.0) -> list[Bar]:
    """Build the minute bars of a session. A share of them is `missing`: without a trade, at the last close."""
    rng = np.random.default_rng(seed)
    close, out = 100.0, []
    for number in range(1, count + 1):
        if rng.random() < missing:
            out.append(bar("KO", number, minute(number), close, volume=0.0, traded=False))
            continue
        start = close + rng.normal(0, 0.1)
        close = start + rng.normal(0, 0.2)
        high, low = max(start, close) + rng.random(), min(start, close) - rng.random()
        volume = float(rng.integers(1, 1000))
        out.append(bar("KO", number, minute(number), close, open=start, high=high, low=low, volume=volume))
    return out


def resampled_by_pandas(minute_bars: list[Bar], interval: str) -> pd.DataFrame:
    """Resample the trades' minutes from the open of the session on. Bars without a trade are left out."""
    traded = [one for one in minute_bars if one.traded]
    frame = pd.DataFrame(
        [[getattr(one, name) for name in COLUMNS] for one in traded],
        columns=COLUMNS,
        index=pd.to_datetime([one.open_ns for one in traded]),
    )
    rules: dict[str, Any] = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    rule = interval.replace("m", "min")
    return frame.resample(rule, origin=pd.Timestamp(OPEN_NS)).agg(rules).dropna()


def resample(minute_bars: list[Bar], interval: str, bounds: SessionBounds = BOUNDS) -> list[Bar]:
    resampler = BarResampler(interval_ns(interval))
    return [closed for one in minute_bars for closed in resampler.update(one, bounds)]


@pytest.mark.parametrize("interval", ["2m", "5m", "15m", "30m", "1h", "2h"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_bars_equal_those_of_pandas(interval: str, missing: float) -> None:
    minute_bars = random_bars(7, missing=missing)
    expected = resampled_by_pandas(minute_bars, interval)
    found = [one for one in resample(minute_bars, interval) if one.traded]
    assert [one.open_ns for one in found] == expected.index.astype("datetime64[ns]").astype(int).tolist()
    np.testing.assert_array_equal([[getattr(one, name) for name in COLUMNS] for one in found], expected.to_numpy())


def test_the_last_bar_of_the_session_ends_with_it() -> None:
    found = resample(random_bars(1), "1h")
    assert len(found) == 7, "six hours and a half"
    assert (found[-1].open_ns, found[-1].ts_ns) == (OPEN_NS + 360 * MINUTE_NS, CLOSE_NS)


def test_the_last_bar_ends_with_an_early_close() -> None:
    early = SessionBounds(OPEN_NS, OPEN_NS + 210 * MINUTE_NS)
    found = resample(random_bars(1, 210), "1h", early)
    assert (len(found), found[-1].ts_ns) == (4, early.close_ns)


def test_a_session_whose_close_is_unknown_ends_with_the_next_bar() -> None:
    resampler = BarResampler(interval_ns("1h"))
    unknown = SessionBounds(OPEN_NS, None)
    assert [one for each in random_bars(1, 30) for one in resampler.update(each, unknown)] == []
    next_open = OPEN_NS + 24 * 60 * MINUTE_NS
    next_bar = bar("KO", 1, next_open + MINUTE_NS, 101.0, day=20240103)
    (closed,) = resampler.update(next_bar, SessionBounds(next_open, None))
    assert (closed.open_ns, closed.ts_ns) == (OPEN_NS, OPEN_NS + 60 * MINUTE_NS)


def test_a_missing_minute_at_the_end_closes_the_bar_with_the_next_one() -> None:
    minute_bars = random_bars(3, 12)
    del minute_bars[4]  # the fifth minute would close the first bar
    found = resample(minute_bars, "5m")
    assert [(one.open_ns, one.ts_ns, one.close) for one in found] == [
        (minute(0), minute(5), minute_bars[3].close),
        (minute(5), minute(10), minute_bars[8].close),
    ]


def test_a_bar_without_any_trade_repeats_the_last_close() -> None:
    quiet = [bar("KO", number, minute(number), 100.0, volume=0.0, traded=False) for number in range(1, 6)]
    (found,) = resample(quiet, "5m")
    assert (found.traded, found.open, found.high, found.low, found.close, found.volume) == (
        False,
        100.0,
        100.0,
        100.0,
        100.0,
        0.0,
    )


def day_bar(day: int, number: int, close: float, *, phase: SessionPhase = "REGULAR", days_later: int = 0) -> Bar:
    ts_ns = minute(number) + days_later * 24 * 60 * MINUTE_NS
    return bar("KO", number, ts_ns, close, day=day, session=phase)


def test_a_daily_bar_has_the_regular_session_only() -> None:
    resampler = BarResampler(interval_ns("1d"))
    out = []
    for one in (
        day_bar(DAY, -30, 90.0, phase=PRE),
        day_bar(DAY, 1, 100.0),
        day_bar(DAY, 390, 101.0),
        day_bar(DAY, 400, 120.0, phase=POST),
    ):
        out += resampler.update(one, BOUNDS)
    (found,) = out
    assert (found.open, found.high, found.low, found.close, found.volume) == (100.0, 101.0, 100.0, 101.0, 2000.0)
    assert (found.open_ns, found.ts_ns) == (OPEN_NS, CLOSE_NS)


def test_a_daily_bar_without_a_known_close_ends_with_the_first_bar_after_the_session() -> None:
    resampler = BarResampler(interval_ns("1d"))
    unknown = SessionBounds(OPEN_NS, None)
    assert resampler.update(day_bar(DAY, 1, 100.0), unknown) == []
    (found,) = resampler.update(day_bar(DAY, 400, 120.0, phase=POST), unknown)
    assert found.close == 100.0


def test_weekly_bars_end_with_the_last_session_of_the_week() -> None:
    """2 January 2024 is a Tuesday; the week ends on Friday, the 5th."""
    days = {
        20240102 + later: session(20240102 + later, open_ns=OPEN_NS + later * 24 * 60 * MINUTE_NS) for later in range(4)
    }
    days[20240108] = session(20240108, open_ns=OPEN_NS + 6 * 24 * 60 * MINUTE_NS)
    clock, resampler, out = SessionClock(days), BarResampler(interval_ns("1w")), []
    for later, day in [(0, 20240102), (1, 20240103), (3, 20240105), (6, 20240108)]:
        one = day_bar(day, 390, 100.0 + later, days_later=later)
        out += resampler.update(one, clock.bounds(one), ends_week=clock.ends_week(one))
    (week,) = out
    assert (week.open, week.close, week.volume) == (100.0, 103.0, 3000.0)
    assert week.ts_ns == days[20240105].close_ns


def test_a_continuous_session_starts_at_midnight() -> None:
    midnight = OPEN_NS - OPEN_NS % (24 * 60 * MINUTE_NS)
    ts_ns = midnight + 90 * MINUTE_NS
    one = bar("BTC/USD", 1, ts_ns, session=CONTINUOUS)
    bounds = SessionClock({}).bounds(one)
    assert bounds == SessionBounds(midnight, midnight + 24 * 60 * MINUTE_NS)
    resampler = BarResampler(interval_ns("1h"))
    resampler.update(one, bounds)
    (found,) = resampler.update(
        one._replace(ts_ns=midnight + 121 * MINUTE_NS, open_ns=midnight + 120 * MINUTE_NS), bounds
    )
    assert (found.open_ns, found.ts_ns) == (midnight + 60 * MINUTE_NS, midnight + 120 * MINUTE_NS)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 120), interval=st.sampled_from(["3m", "15m", "1h", "1d"]))
def test_a_snapshot_at_any_bar_continues_alike(seed: int, cut: int, interval: str) -> None:
    minute_bars = random_bars(seed, 120, missing=0.3)
    first, second = BarResampler(interval_ns(interval)), BarResampler(interval_ns(interval))
    for one in minute_bars[:cut]:
        first.update(one, BOUNDS)
    second.restore(first.snapshot())
    for one in minute_bars[cut:]:
        assert first.update(one, BOUNDS) == second.update(one, BOUNDS)


def test_a_split_converts_history_and_features_of_longer_intervals() -> None:
    """Bars at 100 before and at 50 after a split of two for one give an unchanged average of 50."""
    found: list[Any] = []

    def act(ctx: Any, number: int) -> None:
        closes, volumes = (ctx.history("KO", "5m")[name].tolist() for name in ("close", "volume"))
        found.append((closes, volumes, ctx.feature("KO", "sma_2", "5m")))

    slices = [bars(number, "KO") for number in range(1, 6)]
    split = corporate_action("spl-1", "SPLIT", "KO", ratio=2)
    slices += [[*([split] if number == 6 else []), *bars(number, "KO", close=50.0)] for number in range(6, 11)]
    run(Scripted(act, history={"5m": 3}, features={"5m": ("sma_2",)}), slices)
    assert found[4] == ([100.0], [5000.0], None)
    assert found[5] == ([50.0], [10_000.0], None)
    assert found[9] == ([50.0, 50.0], [10_000.0, 5000.0], 50.0)


@pytest.mark.parametrize("size", [1, 3, 40])
def test_history_keeps_the_newest_bars_through_snapshots(size: int) -> None:
    one, minute_bars = BarHistory(size), random_bars(5, 300)
    for count, each in enumerate(minute_bars, start=1):
        one.append(each)
        copy = BarHistory(size)
        copy.restore(one.snapshot())
        expected = [past.close for past in minute_bars[max(0, count - size) : count]]
        assert one.arrays(size)["close"].tolist() == copy.arrays(size)["close"].tolist() == expected
        if count % 7 == 0:
            one = copy


@pytest.mark.parametrize("text", ["", "m", "0m", "15", "1.5m", "15 m", "2d", "2w", "25h", "1y", None])
def test_other_intervals_are_rejected(text: Any) -> None:
    with pytest.raises(BadInput, match="interval must be"):
        interval_ns(text)
