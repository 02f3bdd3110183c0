"""An input that an earlier release did not read joins at the time of the snapshot, without a deadlock."""

from __future__ import annotations

from typing import Any

from operators.alignment import AlignedLogs
from operators.log_cursor import LogInput
from operators.stage import TimeSlice
from schemas.records import Clock, Command, FeatureRow
from tests.builders import command, feature_row

FEATURES = LogInput("features", 0, 0)
COMMANDS = LogInput("commands", 0, 1)
SUSPENSIONS = LogInput("strategy-suspensions", 0, 2, feedback=True)


def clock(ts_ns: int) -> Clock:
    return Clock(ts_ns, "test")


def row(seq: int) -> FeatureRow:
    return feature_row("A", seq, seq * 10)


def test_an_added_input_joins_at_the_time_of_the_snapshot() -> None:
    earlier = AlignedLogs("signals", [FEATURES])
    earlier.feed("features", 0, [(0, row(1)), (1, clock(10)), (2, row(2)), (3, clock(20))])
    assert [t.ts_ns for t in earlier.take_slices()] == [10, 20]

    reader = AlignedLogs("signals", [FEATURES, COMMANDS, SUSPENSIONS], earlier.snapshot())
    reader.feed("features", 0, [(4, row(3)), (5, clock(30)), (6, row(4)), (7, clock(40))])
    old, late = command("old"), command("late")
    reader.feed("commands", 0, [(0, old), (1, clock(10)), (2, clock(20)), (3, late), (4, clock(30)), (5, clock(40))])
    [time_slice] = reader.take_slices()
    assert (time_slice.ts_ns, list(time_slice.records)) == (30, [row(3), late]), (
        "the old command is not processed again"
    )

    # The reader writes the feedback topic itself, so its first clock is that of this time slice.
    assert reader.take_slices() == []
    reader.feed("strategy-suspensions", 0, [(0, clock(30))])
    assert [t.ts_ns for t in reader.take_slices()] == [40]
    assert type(late) is Command and reader.next_offsets()["commands", 0] == 6


def test_a_crash_while_joining_joins_again() -> None:
    earlier = AlignedLogs("signals", [FEATURES])
    earlier.feed("features", 0, [(0, row(1)), (1, clock(10))])
    earlier.take_slices()
    reader = AlignedLogs("signals", [FEATURES, COMMANDS], earlier.snapshot())
    reader.feed("commands", 0, [(0, command("old")), (1, clock(10))])
    again = AlignedLogs("signals", [FEATURES, COMMANDS], reader.snapshot())
    again.feed("commands", 0, [(0, command("old")), (1, clock(10)), (2, clock(20))])
    again.feed("features", 0, [(2, row(2)), (3, clock(20))])
    assert [list(t.records) for t in again.take_slices()] == [[row(2)]]


def test_a_repeated_clock_skips_no_record_of_an_added_input() -> None:
    """After a crash, the feed writes clocks again. A service that read the log before discards them too."""
    earlier = AlignedLogs("signals", [FEATURES])
    earlier.feed("features", 0, [(0, row(1)), (1, clock(10))])
    earlier.take_slices()
    added = AlignedLogs("signals", [FEATURES, COMMANDS], earlier.snapshot())
    complete = AlignedLogs("signals", [FEATURES, COMMANDS])
    complete.feed("features", 0, [(0, row(1)), (1, clock(10))])
    messages: list[Any] = [clock(5), command("old"), clock(10), command("new"), clock(5), clock(10), clock(20)]
    for reader in (added, complete):
        reader.feed("features", 0, [(2, row(2)), (3, clock(20))])
        reader.feed("commands", 0, list(enumerate(messages)))
    expected = TimeSlice(20, [row(2), command("new")])
    assert added.take_slices() == [expected]
    assert complete.take_slices()[-1] == expected
