"""Handlers that run at a time of the exchange, or at the end of each interval."""

from __future__ import annotations

from typing import Any

import pytest

from operators.strategies import TradingStrategy, at, every
from operators.trading.sessions import SessionTimes
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.errors import BadInput
from schemas.records import PRE
from tests.unit.trading_harness import DAY, HOUR_NS, MINUTE_NS, OPEN_NS, bars, feed, minute, session, stage_of

DAY_NS = 24 * HOUR_NS
CALENDAR = {"XNYS": {DAY: session(), DAY + 1: session(DAY + 1, open_ns=OPEN_NS + DAY_NS)}}


class Timed(TradingStrategy):
    symbols = ("KO",)

    @at("15:55", calendar="XNYS")
    def flatten(self, ctx: Any) -> None:
        ctx.note("15:55")

    @at(minutes_after_open=5)
    def after_open(self, ctx: Any) -> None:
        ctx.note("5 after open")

    @at(minutes_before_close=10)
    def before_close(self, ctx: Any) -> None:
        ctx.note("10 before close")


def times(strategy: TradingStrategy, numbers: range | list[int], **settings: Any) -> list[tuple[str, int]]:
    """Return the notes with the minute of the time slice in which they were made."""
    stage = stage_of(strategy, **settings)
    out: list[tuple[str, int]] = []
    for number in numbers:
        out += [(action.arguments["text"], number) for action in feed(stage, [bars(number, "KO")], number)]
    return out


def test_handlers_run_with_the_bars_that_end_at_their_time() -> None:
    """9:30 is minute 0, so that 15:55 is minute 385, and ten minutes before the close is minute 380."""
    assert times(Timed(), range(1, 391), sessions=CALENDAR) == [
        ("5 after open", 5),
        ("10 before close", 380),
        ("15:55", 385),
    ]


def test_a_missing_bar_delays_the_handler_to_the_next_time_slice() -> None:
    assert times(Timed(), [1, 4, 6, 7], sessions=CALENDAR) == [("5 after open", 6)]


def test_a_handler_runs_on_each_day() -> None:
    numbers = [380, 1440 + 4, 1440 + 5, 1440 + 380]
    found = times(Timed(), numbers, sessions=CALENDAR)
    assert found == [("10 before close", 380), ("15:55", 1444), ("5 after open", 1445), ("10 before close", 1820)]


def test_an_early_close_moves_what_is_relative_to_it_and_drops_later_times() -> None:
    early = {"XNYS": {DAY: session(minutes=210, early_close=True)}}
    assert times(Timed(), range(1, 240), sessions=early) == [("5 after open", 5), ("10 before close", 200)]


def test_a_time_after_the_close_of_a_full_day_runs() -> None:
    class Late(TradingStrategy):
        symbols = ("KO",)

        @at("16:30")
        def late(self, ctx: Any) -> None:
            ctx.note("16:30")

    assert times(Late(), [390, 419, 420, 421], sessions=CALENDAR) == [("16:30", 420)]


def test_summer_time_moves_a_time_of_day_by_an_hour() -> None:
    summer = SessionTimes(DAY, OPEN_NS, OPEN_NS + 390 * MINUTE_NS, -4 * 3600)
    found = times(Timed(), range(300, 391), sessions={"XNYS": {DAY: summer}})
    assert ("15:55", 385 - 60) in found


def test_each_calendar_has_its_own_times() -> None:
    class Two(TradingStrategy):
        symbols = ("KO",)

        @at(minutes_after_open=0, calendar="XLON")
        def london(self, ctx: Any) -> None:
            ctx.note("London")

    london = {DAY: SessionTimes(DAY, OPEN_NS + 3 * MINUTE_NS, OPEN_NS + 9 * MINUTE_NS, 0)}
    assert times(Two(), range(1, 9), sessions=CALENDAR | {"XLON": london}) == [("London", 3)]


class Hourly(TradingStrategy):
    symbols = ("KO",)

    @every("1h")
    def rebalance(self, ctx: Any) -> None:
        ctx.note("hour")

    def on_slice(self, ctx: Any) -> None:
        if ctx.time == minute(60):
            ctx.note("slice")


def test_intervals_count_from_the_open_and_run_after_the_slice() -> None:
    found = times(Hourly(), range(1, 391), sessions=CALENDAR)
    assert found == [("slice", 60), *(("hour", 60 * count) for count in range(1, 7))]


def test_an_interval_that_ends_without_a_bar_runs_with_the_next_one() -> None:
    assert times(Hourly(), [59, 62, 63, 119, 121], sessions=CALENDAR) == [("hour", 62), ("hour", 121)]


def test_intervals_run_in_the_regular_session_only() -> None:
    stage = stage_of(Hourly(), sessions=CALENDAR)
    early = [bars(number, "KO", session=PRE) for number in range(-120, 0)]
    assert feed(stage, early, -120) == []


def test_a_start_in_the_middle_of_the_session_runs_nothing_that_has_passed() -> None:
    assert times(Timed(), [100, 101], sessions=CALENDAR) == []
    assert times(Hourly(), [100, 101], sessions=CALENDAR) == []


def test_one_handler_can_have_several_schedules() -> None:
    class Twice(TradingStrategy):
        symbols = ("KO",)

        @at("10:00")
        @at("11:00")
        @every("2h")
        def check(self, ctx: Any) -> None:
            ctx.note("check")

    assert times(Twice(), range(1, 200), sessions=CALENDAR) == [("check", 30), ("check", 90), ("check", 120)]


def test_a_subclass_replaces_a_scheduled_handler_of_its_base() -> None:
    class Quiet(Timed):
        def flatten(self, ctx: Any) -> None:
            ctx.note("never scheduled")

    assert times(Quiet(), range(370, 391), sessions=CALENDAR) == [("10 before close", 380)]


@pytest.mark.parametrize(
    "decorate",
    [
        lambda: at("25:00"),
        lambda: at("9:5"),
        lambda: at(),
        lambda: at("10:00", minutes_after_open=1),
        lambda: at(minutes_after_open=-1),
        lambda: at(minutes_before_close=1.5),  # type: ignore[arg-type]  # what a user may write
        lambda: every("1d"),
        lambda: every("often"),
    ],
)
def test_a_malformed_schedule_is_rejected_where_it_is_written(decorate: Any) -> None:
    with pytest.raises(BadInput):
        decorate()


def test_a_schedule_of_an_unknown_calendar_is_rejected_at_the_start() -> None:
    expected = "strategy timed: flatten runs at a time of the calendar XNYS, whose sessions are unknown. Known: none"
    with pytest.raises(BadInput, match=expected):
        TradingStrategyStage([Timed()], TradingSettings())
