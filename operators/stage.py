"""What every stage is: a function of ticks.

A *tick* is all that happened in a stage's input logs up to one clock, in an order that follows from the logs alone
(`operators/alignment.py`). A stage turns one tick into records, keeps its state between ticks, and never looks at a
clock, a file or the network. Live, paper and backtest run the same stages; they differ in what feeds the ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from schemas.records import Record


class TimeSlice(NamedTuple):
    """All records up to `ts_ns` that an earlier tick did not hold, in effective order."""

    ts_ns: int
    records: Sequence[Record]


class Stage(Protocol):
    """One service's logic. A step of it: one tick in, the records that follow from it out, in a fixed order."""

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        """Fold one tick in. `ts_ns` is greater than at the call before; `records` may be empty."""
        ...

    def snapshot(self) -> Any:
        """The state as plain tuples, lists and dicts, first element a version number; later ticks must not change
        it.
        """
        ...

    def restore(self, snapshot: Any) -> None:
        """Become the stage whose `snapshot()` this was; also reads the versions before."""
        ...
