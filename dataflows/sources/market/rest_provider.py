"""Provider base that requests each minute's bars after it ends, and historical bars."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import structlog

from dataflows.sources.market.provider import (
    MINUTES_RETAINED,
    FetchHistory,
    QuoteUpdate,
    RejectedMessage,
    RowsBySymbol,
    TradePrint,
)
from operators.bar_completion import Minute
from schemas.errors import Unavailable
from schemas.records import TradingStatus
from sinks.background_thread import BackgroundThread

log = structlog.get_logger(__name__)


class RestBarsProvider:
    """A `Provider` without a socket.

    A minute that still waits for bars is requested again every `retry_interval_s` seconds, because bars may be late.
    Requests run in a separate thread, one at a time.
    """

    def __init__(
        self,
        name: str,
        fetch_history: FetchHistory,
        retry_interval_s: float = 1.0,
        monotonic_s: Callable[[], float] = time.monotonic,
        fetch_adjusted: FetchHistory | None = None,
    ) -> None:
        self.name, self._fetch_history, self._retry_interval_s = name, fetch_history, retry_interval_s
        self._fetch_adjusted = fetch_adjusted or fetch_history
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._rows: dict[int, RowsBySymbol] = {}
        self._requesting = False
        self._requested_s = -float("inf")
        self._failure = ""

    def start(self) -> None:
        """Do nothing: `rows` sends the requests."""

    def stop(self) -> None:
        """Do nothing: a pending request ends on its own."""

    def unhealthy_reason(self, minute: Minute, now_ns: int) -> str:
        self.rows(minute)
        with self._lock:
            return "" if minute.open_ns in self._rows else self._failure or "no response yet"

    def rows(self, minute: Minute) -> RowsBySymbol:
        with self._lock:
            rows = self._rows.get(minute.open_ns)
            if not self._requesting and self._monotonic_s() - self._requested_s >= self._retry_interval_s:
                self._requesting, self._requested_s = True, self._monotonic_s()
                BackgroundThread(f"{self.name}-bars", partial(self._request, minute), restart=False).start()
        return dict(rows or {})

    def drain_updates(self) -> tuple[list[QuoteUpdate], list[TradePrint]]:
        return [], []

    def drain_statuses(self) -> list[TradingStatus]:
        return []

    def drain_rejected(self) -> list[RejectedMessage]:
        return []

    def history(self, first_open_ns: int, end_ns: int, *, adjusted: bool = False) -> dict[int, RowsBySymbol]:
        fetch = self._fetch_adjusted if adjusted else self._fetch_history
        return history_or_empty(self.name, fetch, first_open_ns, end_ns)

    def _request(self, minute: Minute) -> None:
        rows: RowsBySymbol | None = None
        failure = "the request failed unexpectedly; the log holds the error"
        try:
            rows = self._fetch_history(minute.open_ns, minute.ts_ns).get(minute.open_ns, {})
            failure = ""
        except Unavailable as error:
            failure = str(error)
        finally:
            # Also after an unexpected exception: otherwise the provider would never send another request.
            with self._lock:
                self._requesting, self._failure = False, failure
                if rows is not None:
                    self._rows[minute.open_ns] = rows
                    while len(self._rows) > MINUTES_RETAINED:
                        del self._rows[min(self._rows)]


def history_or_empty(
    name: str, fetch_history: FetchHistory, first_open_ns: int, end_ns: int
) -> dict[int, RowsBySymbol]:
    """Return historical bars, or none if there is no response, so that the caller can use the next provider."""
    try:
        return fetch_history(first_open_ns, end_ns)
    except Unavailable as error:
        log.warning("history request failed", provider=name, error=str(error))
        return {}
