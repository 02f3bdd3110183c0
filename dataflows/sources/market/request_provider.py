"""Bars by request: each minute's once it is over, and those of the past."""

from __future__ import annotations

import threading
import time

import structlog

from dataflows.sources.market.provider import MINUTES_KEPT, Past, QuoteSeen, Rows, SetAside, TradeSeen
from operators.bar_completion import Minute
from schemas.errors import Unavailable

log = structlog.get_logger(__name__)


class RequestedBars:
    """A `Provider` without a socket. A minute that waits for bars is asked for again every `every_s` seconds: a bar
    may be a moment late. Requests run in a thread of their own, one at a time.
    """

    def __init__(self, name: str, past: Past, every_s: float = 1.0) -> None:
        self.name, self._past, self._every_s = name, past, every_s
        self._lock = threading.Lock()
        self._rows: dict[int, Rows] = {}
        self._asking = False
        self._asked_s = -float("inf")
        self._failed = ""

    def start(self) -> None:
        """It asks when it is asked."""

    def stop(self) -> None:
        """A request under way ends by itself."""

    def unwell(self, minute: Minute, now_ns: int) -> str:
        self.rows(minute)
        with self._lock:
            return "" if minute.open_ns in self._rows else self._failed or "no answer yet"

    def rows(self, minute: Minute) -> Rows:
        with self._lock:
            found = self._rows.get(minute.open_ns)
            if not self._asking and time.monotonic() - self._asked_s >= self._every_s:
                self._asking, self._asked_s = True, time.monotonic()
                threading.Thread(target=self._ask, args=(minute,), daemon=True, name=f"{self.name}-bars").start()
        return dict(found or {})

    def seen(self) -> tuple[list[QuoteSeen], list[TradeSeen]]:
        return [], []

    def set_aside(self) -> list[SetAside]:
        return []

    def history(self, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
        return past_or_nothing(self.name, self._past, first_open_ns, end_ns)

    def _ask(self, minute: Minute) -> None:
        found: Rows | None = None
        failed = ""
        try:
            found = self._past(minute.open_ns, minute.ts_ns).get(minute.open_ns, {})
        except Unavailable as error:
            failed = str(error)
        with self._lock:
            self._asking, self._failed = False, failed
            if found is not None:
                self._rows[minute.open_ns] = found
                while len(self._rows) > MINUTES_KEPT:
                    del self._rows[min(self._rows)]


def past_or_nothing(name: str, past: Past, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
    """Bars of the past, none where there is no answer: the next provider is asked then."""
    try:
        return past(first_open_ns, end_ns)
    except Unavailable as error:
        log.warning("no bars of the past", provider=name, error=str(error))
        return {}
