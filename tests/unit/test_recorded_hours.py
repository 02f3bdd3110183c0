"""Recorded trading hours replace those of the calendar: in the venue, and in files of reference data."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from dataflows.sources.tape import Tape, TapeFiles
from dataflows.sources.trading_calendar import session_table
from operators.bar_completion import FeedSettings
from operators.trading.exchange_sessions import session_record
from operators.trading.sessions import SessionTimes
from operators.venue import VenueSettings, VenueStage
from schemas.records import CLS, DAY, EXPIRED, REGULAR, SELL, TRADE, Execution, Record, TradingSession
from tests.builders import bar, order
from tests.unit.trading_harness import DAY as TODAY
from tests.unit.trading_harness import MINUTE_NS, OPEN_NS, minute
from tests.unit.venue_runs import NO_FEE

SETTINGS = VenueSettings(sessions=(REGULAR,), **NO_FEE)
FULL_MINUTES, EARLY_MINUTES = 10, 4
"""The calendar has ten minutes, the records four."""


def venue() -> VenueStage:
    return VenueStage(SETTINGS, session_end=lambda ts_ns: OPEN_NS + FULL_MINUTES * MINUTE_NS)


def hours(minutes: int, *, calendar: str = "XNYS") -> TradingSession:
    times = SessionTimes(TODAY, OPEN_NS, OPEN_NS + minutes * MINUTE_NS, -5 * 3600, minutes < FULL_MINUTES)
    return session_record(calendar, times, minute(1))


def run(*records: Record, restart: bool = False) -> dict[str, tuple[str, int]]:
    """Return how a day order that never fills and an on-close order end: the report, and its minute.

    `records` arrive with the second minute.
    """
    day_order = order(1, SELL, 10, order_type="LIMIT", limit_price=999, time_in_force=DAY)
    stage, found = venue(), dict[str, tuple[str, int]]()
    for number in range(1, FULL_MINUTES + 2):
        if restart:
            state = pickle.dumps(stage.snapshot())
            stage = venue()
            stage.restore(pickle.loads(state))  # noqa: S301  (written above)
        inputs: list[Record] = [day_order, order(2, time_in_force=CLS)] if number == 1 else []
        if number == 2:
            inputs += records
        inputs.append(bar("AAPL", number, minute(number), day=TODAY))
        for report in stage.on_slice(minute(number), inputs):
            if type(report) is Execution and report.exec_type in (TRADE, EXPIRED):
                found[report.order_id] = (report.exec_type, number)
    return found


@pytest.mark.parametrize("restart", [False, True])
def test_day_and_on_close_orders_end_with_a_recorded_early_close(restart: bool) -> None:
    found = run(hours(EARLY_MINUTES), restart=restart)
    assert found == {"ord-1": (EXPIRED, EARLY_MINUTES), "ord-2": (TRADE, EARLY_MINUTES)}


def test_records_equal_to_the_calendar_change_nothing() -> None:
    expected = {"ord-1": (EXPIRED, FULL_MINUTES), "ord-2": (TRADE, FULL_MINUTES)}
    assert run() == run(hours(FULL_MINUTES)) == expected


def test_the_last_record_of_a_day_counts_and_those_of_other_calendars_do_not() -> None:
    found = run(hours(EARLY_MINUTES), hours(EARLY_MINUTES + 2), hours(3, calendar="24/7"))
    assert found["ord-2"] == (TRADE, EARLY_MINUTES + 2)


def test_a_snapshot_of_an_earlier_release_has_no_recorded_hours() -> None:
    stage = venue()
    stage.on_slice(minute(1), [hours(EARLY_MINUTES)])
    version, *parts, recorded = stage.snapshot()
    assert (version, recorded) == (7, [(TODAY, (OPEN_NS, OPEN_NS + EARLY_MINUTES * MINUTE_NS))])
    restored = venue()
    restored.restore((6, *parts))
    assert restored.snapshot()[-1] == []


def read(folder: Path, *rows: str) -> list[Any]:
    (folder / "reference.csv").write_text("\n".join(("kind,day,open,close,time", *rows)) + "\n")
    tape = Tape(TapeFiles(reference_data=[folder / "reference.csv"]), FeedSettings(timezone="America/New_York"))
    records, dead_letters = tape.pop_until(minute(10), minute(9), minute(8))
    return [*records, *dead_letters]


def test_a_file_of_reference_data_contains_trading_hours(tmp_path: Path) -> None:
    early, full = read(
        tmp_path,
        "TRADING_SESSION,2024-01-02,2024-01-02 09:30,2024-01-02 13:00,2024-01-02 09:35",
        "TRADING_SESSION,2023-07-03,2023-07-03 09:30,2023-07-03 16:00,",
    )[::-1]
    table = session_table("XNYS")
    assert early == session_record(
        "XNYS", table[TODAY]._replace(close_ns=OPEN_NS + 210 * MINUTE_NS, early_close=True), OPEN_NS + 5 * MINUTE_NS
    )
    assert full.utc_offset_s == table[20230703].utc_offset_s == -4 * 3600
    assert (full.open_ns, full.early_close) == (table[20230703].open_ns, False)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("TRADING_SESSION,2024-01-02,2024-01-02 13:00,2024-01-02 09:30,", "fields open and close must be times"),
        ("TRADING_SESSION,2024-01-02,2024-01-02 09:30,,", "fields open and close must be times"),
        ("TRADING_SESSION,2024-01-02,2024-01-03 09:30,2024-01-03 13:00,", "must lie on the day 20240102 in New York"),
        ("TRADING_SESSION,,2024-01-02 09:30,2024-01-02 13:00,", "field day must be a text"),
    ],
)
def test_invalid_trading_hours_of_a_file_are_rejected(tmp_path: Path, row: str, reason: str) -> None:
    good = "TRADING_SESSION,2024-01-02,2024-01-02 09:30,2024-01-02 13:00,"
    *_, letter = read(tmp_path, good, row)
    assert reason in letter.reason
