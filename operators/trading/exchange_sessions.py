"""The trading hours by exchange and day: those of `TradingSession` records, else those of a table."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

from operators.trading.sessions import SessionTable, SessionTimes
from schemas.records import Record, TradingSession

VERSION = 1
RECORDED_MAX = 64
"""Number of recent days by calendar whose records are stored."""


class ExchangeSessions:
    """The trading hours that strategies use.

    A record replaces the entry of the table, so that a replay uses the trading hours that the run used, also if the
    calendar has been corrected since. The table serves days without a record: tapes and the logs of earlier releases.
    """

    def __init__(self, table: SessionTable) -> None:
        self._table = table
        self._recorded: dict[str, dict[int, SessionTimes]] = {}  # only those that differ from the table

    def days(self, calendar: str) -> Mapping[int, SessionTimes]:
        """Return the trading hours of a calendar by day."""
        table = self._table.get(calendar, {})
        recorded = self._recorded.get(calendar)
        return table if not recorded else ChainMap(dict(recorded), dict(table))

    def apply(self, records: Sequence[Record]) -> bool:
        """Apply the sessions among the records. Return whether the trading hours of a day have changed."""
        changed = False
        for record in records:
            if type(record) is TradingSession:
                changed |= self._apply(record)
        return changed

    def _apply(self, record: TradingSession) -> bool:
        if record.close_ns <= record.open_ns:
            return False
        times = SessionTimes(record.day, record.open_ns, record.close_ns, record.utc_offset_s, record.early_close)
        recorded = self._recorded.setdefault(record.calendar, {})
        if recorded.get(record.day, self._table.get(record.calendar, {}).get(record.day)) == times:
            return False
        recorded[record.day] = times
        if len(recorded) > RECORDED_MAX:
            del recorded[min(recorded)]
        return True

    def snapshot(self) -> Any:
        return (VERSION, {calendar: [tuple(one) for one in days.values()] for calendar, days in self._recorded.items()})

    def restore(self, snapshot: Any) -> None:
        version, recorded = snapshot
        assert version == VERSION, f"exchange sessions snapshot: version {version}, expected {VERSION}"
        self._recorded = {
            calendar: {values[0]: SessionTimes(*values) for values in days} for calendar, days in recorded.items()
        }


def session_record(calendar: str, times: SessionTimes, ts_ns: int) -> TradingSession:
    """Return the record of the trading hours of one day."""
    return TradingSession(
        session_id=f"session-{calendar}-{times.day}",
        ts_ns=ts_ns,
        calendar=calendar,
        day=times.day,
        open_ns=times.open_ns,
        close_ns=times.close_ns,
        utc_offset_s=times.utc_offset_s,
        early_close=times.early_close,
    )
