"""Count the distances between successive rows of each symbol of a file, whatever the borders of the file's blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dataflows.sources.blocks import Codes
from dataflows.sources.row_times import SECOND_NS, Ints, Mask

RUN_MIN = 5  # equal distances in a row that count as another interval
HOUR_S = 3600
ISOLATION_S = 4 * HOUR_S  # daily rows lie further from rows of the sessions: 04:00 is the start of the pre-market
_NO_ROW_NS = 1 << 62  # the distance of the first row from the row before it


@dataclass
class _LastRow:
    """The last row of a symbol so far, and the run of equal distances that ends with it."""

    ns: int
    distance_ns: int = _NO_ROW_NS
    run: int = 0
    follows_day: bool = False  # whether the row before it is isolated and at midnight


class RowDistances:
    """Accumulates the rows of one file.

    `seconds` counts distances, `runs` those within at least `RUN_MIN` equal ones. `isolated` counts rows that are
    `ISOLATION_S` or more from both neighbors of their symbol, `isolated_midnights` those of them at midnight, and
    `successive_midnights` those of them that follow another one. `midnight_ns` is the time of the last one counted.
    Call `finish()` after the last row.
    """

    def __init__(self, is_midnight: Callable[[Ints], Mask]) -> None:
        self.seconds: Counter[float] = Counter()
        self.runs: Counter[float] = Counter()
        self.duplicates = self.isolated = self.isolated_midnights = self.successive_midnights = 0
        self.midnight_ns = 0
        self.is_ascending = self.is_descending = False
        self._is_midnight = is_midnight
        self._last_rows: dict[int, _LastRow] = {}

    def add(self, times: Ints, codes: Codes) -> None:
        """Add rows in the order of the file. `codes` are the symbols' numbers."""
        if (codes == codes[0]).all():
            self._add_symbol(int(codes[0]), times)
            return
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        for rows in np.split(order, starts[1:]):
            self._add_symbol(int(codes[rows[0]]), times[rows])

    def finish(self) -> None:
        """Count what the end of the file decides."""
        for last in self._last_rows.values():
            self._count_runs(np.array([last.distance_ns]), np.array([last.run]))
            if last.distance_ns >= ISOLATION_S * SECOND_NS:
                self._count_isolated(np.array([last.ns]), np.array([True]), last)

    def _add_symbol(self, code: int, times: Ints) -> None:
        last = self._last_rows.get(code)
        if last is None:
            last = self._last_rows[code] = _LastRow(int(times[0]))
            times = times[1:]
        if not len(times):
            return
        rows = np.concatenate(([last.ns], times))
        signed = np.diff(rows)
        self.is_ascending |= bool((signed > 0).any())
        self.is_descending |= bool((signed < 0).any())
        distances = np.abs(signed)
        self.duplicates += int((distances == 0).sum())
        values, counts = _count_values(distances[distances > 0])
        self.seconds.update(dict(zip((values / SECOND_NS).tolist(), counts.tolist(), strict=True)))
        before = np.concatenate(([last.distance_ns], distances[:-1]))
        is_isolated = np.minimum(before, distances) >= ISOLATION_S * SECOND_NS
        last.follows_day = self._count_isolated(rows[:-1], is_isolated, last)
        last.run = self._add_runs(distances, last)
        last.ns, last.distance_ns = int(rows[-1]), int(distances[-1])

    def _add_runs(self, distances: Ints, last: _LastRow) -> int:
        """Count the runs that end within `distances`, and return the length of the one that does not."""
        starts = np.flatnonzero(np.diff(distances, prepend=-1))
        lengths = np.diff(starts, append=len(distances))
        values = distances[starts]
        if values[0] == last.distance_ns:
            lengths[0] += last.run
        else:
            self._count_runs(np.array([last.distance_ns]), np.array([last.run]))
        self._count_runs(values[:-1], lengths[:-1])
        return int(lengths[-1])

    def _count_runs(self, distances: Ints, lengths: Ints) -> None:
        for index in np.flatnonzero(lengths >= RUN_MIN).tolist():
            self.runs[int(distances[index]) / SECOND_NS] += int(lengths[index])

    def _count_isolated(self, rows: Ints, is_isolated: Mask, last: _LastRow) -> bool:
        """Count isolated rows. Return whether the last one of `rows` is isolated and at midnight."""
        if not is_isolated.any():
            return False
        is_day = is_isolated.copy()
        is_day[is_isolated] = self._is_midnight(rows[is_isolated])
        self.isolated += int(is_isolated.sum())
        self.isolated_midnights += int(is_day.sum())
        if is_day.any():
            self.midnight_ns = int(rows[is_day][-1])
        self.successive_midnights += int((is_day & np.concatenate(([last.follows_day], is_day[:-1]))).sum())
        return bool(is_day[-1])


def _count_values(values: Ints) -> tuple[Ints, Ints]:
    """Return the distinct values and their counts. Most files have one distance only, which needs no sorting."""
    if len(values) and bool((values == values[0]).all()):
        return values[:1], np.array([len(values)])
    distinct, counts = np.unique(values, return_counts=True)
    return distinct, counts
