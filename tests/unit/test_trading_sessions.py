"""The trading hours of exchanges as records: the feed announces them, and strategies use them."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest

from dataflows.sources.session_announcements import SessionAnnouncements
from dataflows.sources.trading_calendar import session_table
from operators.features import FeatureStage
from operators.stage import TimeSlice
from operators.strategies import TradingStrategy, at
from operators.trading.exchange_sessions import RECORDED_MAX, ExchangeSessions, session_record
from operators.trading.sessions import SessionTimes
from schemas.records import TradingSession
from tests.unit.trading_harness import DAY, MINUTE_NS, OPEN_NS, bars, feed, notes, session, stage_of

DAY_NS = 24 * 60 * MINUTE_NS
FULL = session_record("XNYS", session(), OPEN_NS - DAY_NS)
EARLY = session_record("XNYS", session(minutes=210, early_close=True), OPEN_NS - DAY_NS)


class BeforeClose(TradingStrategy):
    symbols = ("KO",)

    @at(minutes_before_close=10)
    def before_close(self, ctx: Any) -> None:
        ctx.note(f"{ctx.session.minutes_to_close} {ctx.session.early_close}")


def test_an_early_close_in_a_record_replaces_that_of_the_table() -> None:
    """The calendar library of another release may lack an unscheduled early close; the log has it."""
    slices = [bars(number, "KO") for number in range(1, 391)]
    stage = stage_of(BeforeClose(), sessions={"XNYS": {DAY: session()}})
    assert notes(feed(stage, slices)) == ["10 False"]
    stage = stage_of(BeforeClose(), sessions={"XNYS": {DAY: session()}})
    slices[0] = [EARLY, *slices[0]]
    assert notes(feed(stage, slices)) == ["10 True"]


@pytest.mark.parametrize("crash_at", [1, 2, 199, 200, 201])
def test_recorded_trading_hours_survive_a_crash(crash_at: int) -> None:
    slices = [bars(number, "KO") for number in range(1, 391)]
    slices[0] = [EARLY, *slices[0]]
    stage = stage_of(BeforeClose(), sessions={"XNYS": {DAY: session()}})
    actions = feed(stage, slices[:crash_at])
    restored = stage_of(BeforeClose(), sessions={"XNYS": {DAY: session()}})
    restored.restore(stage.snapshot())
    actions += feed(restored, slices[crash_at:], first=crash_at + 1)
    assert notes(actions) == ["10 True"]


def test_the_snapshot_of_the_previous_release_can_be_restored() -> None:
    stage = stage_of(BeforeClose(), sessions={"XNYS": {DAY: session()}})
    feed(stage, [bars(1, "KO")])
    _, *parts, _ = stage.snapshot()
    restored = stage_of(BeforeClose(), sessions={"XNYS": {DAY: session()}})
    restored.restore((1, *parts))
    assert restored.snapshot()[:-1] == stage.snapshot()[:-1]


def test_a_record_equal_to_the_table_or_without_hours_changes_nothing() -> None:
    sessions = ExchangeSessions({"XNYS": {DAY: session()}})
    assert not sessions.apply([FULL])
    assert not sessions.apply([FULL._replace(close_ns=FULL.open_ns)])
    assert sessions.apply([EARLY])
    assert not sessions.apply([EARLY]), "a duplicate"
    assert sessions.apply([FULL]), "the record is withdrawn"
    assert sessions.days("XNYS")[DAY] == session()


def test_the_number_of_remembered_days_is_bounded() -> None:
    sessions = ExchangeSessions({})
    for day in range(1, 2 * RECORDED_MAX):
        sessions.apply([FULL._replace(day=day)])
    assert list(sessions.days("XNYS")) == list(range(RECORDED_MAX, 2 * RECORDED_MAX))


def announced(announcements: SessionAnnouncements, times_ns: list[int], last_ns: int = -1) -> list[list[int]]:
    """Return the days announced in each time slice."""
    time_slices = announcements.add([TimeSlice(ts_ns, []) for ts_ns in times_ns], last_ns)
    return [[record.day for record in one.records if type(record) is TradingSession] for one in time_slices]


def test_the_feed_announces_each_session_at_the_open_of_the_one_before() -> None:
    """Thanksgiving 2024: no session on 28 November, and an early close on the 29th."""
    days = session_table("XNYS")
    announcements = SessionAnnouncements("XNYS", days)
    wednesday, friday, monday = days[20241127], days[20241129], days[20241202]
    times_ns = [wednesday.open_ns - 1, wednesday.open_ns, wednesday.close_ns, friday.open_ns + 5, monday.open_ns + 5]
    expected = [[20241126, 20241127], [20241129], [], [20241202], [20241203]]
    assert announced(announcements, times_ns) == expected
    for stop in range(1, len(times_ns)):
        found = announced(announcements, times_ns[:stop])
        found += announced(announcements, times_ns[stop:], times_ns[stop - 1])
        assert found == expected, "a restart changes nothing"
    (record,) = announcements.add([TimeSlice(wednesday.open_ns, [])], wednesday.open_ns - 1)[0].records
    assert record == session_record("XNYS", friday, wednesday.open_ns)
    assert type(record) is TradingSession and record.early_close


def test_a_feed_that_was_stopped_for_days_announces_what_it_missed() -> None:
    days = {day: SessionTimes(day, day * DAY_NS, day * DAY_NS + DAY_NS, 0) for day in range(1, 10)}
    announcements = SessionAnnouncements("24/7", days)
    assert announced(announcements, [2 * DAY_NS, 6 * DAY_NS]) == [[2, 3], [4, 5, 6, 7]]
    assert announced(announcements, [9 * DAY_NS, 10 * DAY_NS]) == [[9], []], "the table ends"


class Quarters(TradingStrategy):
    """Note the session at each bar of 15 minutes, as the indicators have it."""

    symbols = ("KO",)
    features = MappingProxyType({"15m": ("minutes_since_open", "minutes_to_close", "early_close")})

    def on_slice(self, ctx: Any) -> None:
        if ctx.closed("15m"):
            values = [ctx.feature("KO", name, "15m") for name in self.features["15m"]]
            ctx.note(" ".join("none" if value is None else f"{value:g}" for value in values))


@pytest.mark.parametrize("crash_at", [1, 25])
def test_indicators_of_longer_bars_use_the_trading_hours(crash_at: int) -> None:
    """The strategy starts 40 minutes after the open; a record announces an early close in between."""
    days = {"XNYS": {DAY: session()}}
    slices = [bars(number, "KO") for number in range(41, 81)]
    slices[22] = [EARLY, *slices[22]]
    stage, restored = stage_of(Quarters(), sessions=days), stage_of(Quarters(), sessions=days)
    found = notes(feed(stage, slices[:crash_at], first=41))
    restored.restore(stage.snapshot())
    found += notes(feed(restored, slices[crash_at:], first=41 + crash_at))
    assert found == ["45 345 0", "60 330 0", "75 135 1"]


def test_the_indicators_of_all_symbols_share_what_they_derive_from_the_trading_hours() -> None:
    """The table has fifteen thousand days, and a platform thousands of indicators that read it."""

    class Counted(dict[int, SessionTimes]):
        reads = 0

        def __iter__(self) -> Iterator[int]:
            self.reads += 1
            return super().__iter__()

    table = Counted({DAY: session()})
    stage = FeatureStage(["sma_2@15m", "sma_2@1w", "minutes_to_close"], table)
    symbols = [f"S{number}" for number in range(50)]
    rows = stage.on_slice(OPEN_NS + MINUTE_NS, bars(1, *symbols))
    assert len(rows) == 50 and table.reads <= 2
