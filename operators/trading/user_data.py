"""The user's own data for trading strategies: rows of `DataRow` records, point in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from schemas.records import DataRow, Record

VERSION = 1
ROW_IDS_MAX = 10_000
"""Number of recent row ids that are stored to discard duplicates."""


class UserData:
    """The newest row by name and symbol. Rows of other names than those declared by the strategies are ignored.

    A row counts from the first time slice at or after its `ts_ns`, also if it was published earlier. Of the rows of one
    name and symbol that come after their time, such as the history at a start, only the newest is an event.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._newest: dict[tuple[str, str], DataRow] = {}
        self._pending: list[DataRow] = []
        self._row_ids: dict[str, None] = {}
        self._last_ns = -1  # the last time slice

    def pop_due(self, ts_ns: int, records: Sequence[Record]) -> list[DataRow]:
        """Return the rows that become available in this time slice and are events, by time, name and symbol.

        Call once for each time slice.
        """
        last_ns, self._last_ns = self._last_ns, ts_ns
        for record in records:
            if type(record) is DataRow and record.name in self._names and record.row_id not in self._row_ids:
                self._row_ids[record.row_id] = None
                if len(self._row_ids) > ROW_IDS_MAX:
                    del self._row_ids[next(iter(self._row_ids))]
                self._pending.append(record)
        if not self._pending:
            return []
        due = [row for row in self._pending if row.ts_ns <= ts_ns]
        self._pending = [row for row in self._pending if row.ts_ns > ts_ns]
        due.sort(key=lambda row: (row.ts_ns, row.name, row.symbol))
        events: list[DataRow] = []
        late: dict[tuple[str, str], DataRow] = {}
        for row in due:
            key = (row.name, row.symbol)
            newest = self._newest.get(key)
            if newest is not None and (row.ts_ns < newest.ts_ns or row.row_id == newest.row_id):
                continue  # it, or a newer row, is already known
            self._newest[key] = row
            if row.ts_ns <= last_ns or last_ns < 0:
                late[key] = row
            else:
                events.append(row)
        return [*late.values(), *events]

    def newest(self, name: str, symbol: str) -> DataRow | None:
        return self._newest.get((name, symbol))

    def snapshot(self) -> Any:
        return (
            VERSION,
            [tuple(row) for row in self._newest.values()],
            [tuple(row) for row in self._pending],
            list(self._row_ids),
            self._last_ns,
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot, without the rows of names that no strategy declares any more."""
        version, newest, pending, row_ids, self._last_ns = snapshot
        assert version == VERSION, f"user data snapshot: version {version}, expected {VERSION}"
        rows = [DataRow(*values) for values in newest]
        self._newest = {(row.name, row.symbol): row for row in rows if row.name in self._names}
        self._pending = [row for values in pending if (row := DataRow(*values)).name in self._names]
        self._row_ids = dict.fromkeys(row_ids)
