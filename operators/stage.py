"""The interface of a stage: a function of time slices.

A *time slice* is all records of a stage's inputs up to one clock, in an order that depends only on the logs
(`operators/alignment.py`). A stage converts each time slice into output records and keeps its state in between. It
never reads a clock, a file or the network. Live, paper and backtest modes run the same stages; only the source of the
time slices differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from schemas.records import Record


class TimeSlice(NamedTuple):
    """All records up to `ts_ns` that no earlier time slice contains, in effective order."""

    ts_ns: int
    records: Sequence[Record]


class Stage(Protocol):
    """The logic of one service."""

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        """Process one time slice, and return the output records in a fixed order.

        `ts_ns` is greater than in the previous call. `records` may be empty.
        """
        ...

    def snapshot(self) -> Any:
        """Return the state as plain tuples, lists and dicts, with a version number as the first element.

        Later time slices must not change the returned value.
        """
        ...

    def restore(self, snapshot: Any) -> None:
        """Restore the state from a `snapshot()`, also from one of an earlier version."""
        ...


class TimedStage(Stage, Protocol):
    """A stage that acts at certain times, also in a time slice without records."""

    def next_timer_ns(self) -> int | None:
        """Return the event time at which the stage needs its next time slice; None if it has no timer.

        The time can be in the past if the stage waits for something else, such as a bar.
        """
        ...


def next_timer_ns(stage: Stage) -> int | None:
    """Return the next timer of a stage, or of the stage that a wrapper contains; None if it has none."""
    timer: Callable[[], int | None] | None = getattr(stage, "next_timer_ns", None)
    return None if timer is None else timer()


class Restorable(Protocol):
    """A part of a stage that restores its own part of the stage's snapshot."""

    def restore(self, snapshot: Any) -> None: ...
