"""Provider base for sockets: received bars, quotes and trades, connection health, and backfill of bars missed while
disconnected.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

from configs.settings import LiveFeedSection
from dataflows.sources.market.provider import (
    MINUTES_RETAINED,
    RAW_BYTES_MAX,
    SECOND_NS,
    FetchHistory,
    QuoteUpdate,
    RejectedMessage,
    RowsBySymbol,
    TradePrint,
)
from dataflows.sources.market.rest_provider import history_or_empty
from operators.bar_completion import Minute, MinuteRow
from schemas.errors import Unavailable
from schemas.records import CONTINUOUS, REGULAR, TradingStatus
from sinks.background_thread import BackgroundThread

log = structlog.get_logger(__name__)

PENDING_TRADES_MAX = 100_000
REJECTED_MAX = 100
RECONNECT_S_MIN, RECONNECT_S_MAX, REQUEST_TIMEOUT_S = 0.25, 15.0, 10.0
BAR_DELAY_S_MAX = 15
"""How long after a minute's end its bar may still be in transit when the socket disconnects."""


class SocketProvider:
    """The part of a `Provider` that the feed calls. Subclasses add `start`, `stop` and the socket's thread, which calls
    the `on_` methods.

    A socket that was disconnected when minutes ended has missed their bars: a gap. Until `fetch_history` has delivered
    them, those minutes are unhealthy. A bar from the socket is never replaced by a requested one.
    """

    def __init__(
        self,
        name: str,
        live: LiveFeedSection,
        fetch_history: FetchHistory,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        fetch_adjusted: FetchHistory | None = None,
    ) -> None:
        self.name, self._fetch_history = name, fetch_history
        self._fetch_adjusted = fetch_adjusted or fetch_history
        self._interval_ns, self._stale_s = live.interval_ns, live.stale_s
        self._symbols = frozenset(live.symbols)
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._rows: dict[int, RowsBySymbol] = {}
        self._quotes: dict[str, QuoteUpdate] = {}
        self._trades: deque[TradePrint] = deque(maxlen=PENDING_TRADES_MAX)
        self._statuses: list[TradingStatus] = []
        self._rejected: list[RejectedMessage] = []
        self.rejected_count = 0
        self._is_connected = False
        self._state_changed_ns = now_ns()  # when it last connected or disconnected
        self._missing_since_ns = self._state_changed_ns  # bars of minutes that ended since then may be missing
        self._received_ns = 0
        self._refusal = ""
        self._gap: tuple[int, int] | None = None
        self._stop_event = threading.Event()

    # -- for the feed

    def unhealthy_reason(self, minute: Minute, now_ns: int) -> str:
        with self._lock:
            if not self._is_connected:
                if self._refusal:
                    return self._refusal
                disconnected_s = (now_ns - self._state_changed_ns) / SECOND_NS
                return (
                    f"the socket has been disconnected for {disconnected_s:.0f} s"
                    if disconnected_s > 1
                    else "the socket is disconnected"
                )
            if self._gap is not None and self._gap[0] <= minute.open_ns < self._gap[1]:
                return "the bars missed while disconnected are still pending"
            silent_s = (now_ns - max(self._received_ns, self._state_changed_ns)) / SECOND_NS
        if minute.session in (REGULAR, CONTINUOUS) and silent_s > self._stale_s:
            return f"no data received for {silent_s:.0f} s"
        return ""

    def rows(self, minute: Minute) -> RowsBySymbol:
        with self._lock:
            return dict(self._rows.get(minute.open_ns, {}))

    def drain_updates(self) -> tuple[list[QuoteUpdate], list[TradePrint]]:
        with self._lock:
            quotes, self._quotes = list(self._quotes.values()), {}
            trades = list(self._trades)
            self._trades.clear()
        return quotes, trades

    def drain_statuses(self) -> list[TradingStatus]:
        with self._lock:
            statuses, self._statuses = self._statuses, []
        return statuses

    def drain_rejected(self) -> list[RejectedMessage]:
        with self._lock:
            rejected, self._rejected = self._rejected, []
        return rejected

    def history(self, first_open_ns: int, end_ns: int, *, adjusted: bool = False) -> dict[int, RowsBySymbol]:
        fetch = self._fetch_adjusted if adjusted else self._fetch_history
        return history_or_empty(self.name, fetch, first_open_ns, end_ns)

    # -- for the socket's thread

    def on_connected(self) -> None:
        """Handle a connect: subscribed data arrives from now on."""
        interval_ns = self._interval_ns
        with self._lock:
            if self._is_connected:
                return
            now_ns = self._now_ns()
            self._is_connected, self._state_changed_ns, self._refusal = True, now_ns, ""
            end_ns = now_ns // interval_ns * interval_ns
            first_ns = max(self._missing_since_ns // interval_ns * interval_ns, end_ns - MINUTES_RETAINED * interval_ns)
            if first_ns >= end_ns:
                return
            gap = self._gap = (first_ns, end_ns)

        def backfill() -> None:
            self._backfill_gap(gap)
            thread.request_stop()

        thread = BackgroundThread(f"{self.name}-gap", backfill).start()

    def on_disconnected(self, refusal: str = "") -> None:
        """Handle a disconnect. `refusal` is the server's reason for rejecting the connection, if any."""
        with self._lock:
            if refusal and refusal != self._refusal:
                log.error("market data connection rejected", provider=self.name, reason=refusal)
            self._refusal = refusal or self._refusal
            if self._is_connected:
                self._is_connected, self._state_changed_ns = False, self._now_ns()
                missing_since_ns = self._state_changed_ns - BAR_DELAY_S_MAX * SECOND_NS
                self._missing_since_ns = missing_since_ns if self._gap is None else min(missing_since_ns, self._gap[0])

    def on_row(self, open_ns: int, row: MinuteRow) -> None:
        with self._lock:
            self._received_ns = self._now_ns()
            self._rows.setdefault(open_ns, {})[row.symbol] = row
            self._drop_old_minutes()

    def on_quote(self, quote: QuoteUpdate) -> None:
        with self._lock:
            self._received_ns = self._now_ns()
            self._quotes[quote.symbol] = quote

    def on_trade(self, trade: TradePrint) -> None:
        with self._lock:
            self._received_ns = self._now_ns()
            self._trades.append(trade)

    def on_status(self, status: TradingStatus) -> None:
        with self._lock:
            self._received_ns = self._now_ns()
            self._statuses.append(status)

    def on_rejected(self, reason: str, raw: str | bytes) -> None:
        """Count a rejected message and keep it for the feed, which makes it a dead letter."""
        raw_bytes = raw if isinstance(raw, bytes) else raw.encode()
        with self._lock:
            self.rejected_count += 1
            # The time serves as the dead letter's offset, so it must be unique.
            at_ns = max(self._now_ns(), self._rejected[-1].at_ns + 1 if self._rejected else 0)
            if len(self._rejected) < REJECTED_MAX:
                self._rejected.append(RejectedMessage(at_ns, reason, raw_bytes[:RAW_BYTES_MAX]))

    # -- the gap

    def _backfill_gap(self, gap: tuple[int, int]) -> None:
        """Request the missed bars until there is a response, another gap, or the minutes are too old."""
        first_ns, end_ns = gap
        # A minute that just ended may be incomplete in the response.
        complete_ns = end_ns + min(2 * SECOND_NS, self._interval_ns // 4)
        wait_s = max(0.0, (complete_ns - self._now_ns()) / SECOND_NS)
        rows_by_open: dict[int, RowsBySymbol] | None = None
        while rows_by_open is None:
            if (
                self._stop_event.wait(wait_s)
                or self._gap != gap
                or self._now_ns() - end_ns > MINUTES_RETAINED * self._interval_ns
            ):
                return
            try:
                rows_by_open = self._fetch_history(first_ns, end_ns)
            except Unavailable as error:
                log.warning("backfill request failed", provider=self.name, error=str(error))
                wait_s = 1.0
        with self._lock:
            for open_ns, rows in rows_by_open.items():
                received_rows = self._rows.setdefault(open_ns, {})
                self._rows[open_ns] = {**rows, **received_rows}
            self._drop_old_minutes()
            if self._gap == gap:
                self._gap = None
        log.info("missed bars backfilled", provider=self.name, minutes=len(rows_by_open))

    def _drop_old_minutes(self) -> None:
        while len(self._rows) > MINUTES_RETAINED:
            del self._rows[min(self._rows)]
