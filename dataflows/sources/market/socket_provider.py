"""What a provider with a socket knows: bars, quotes and trades as they came, whether it can be relied on, and the bars
that it missed while it was away.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection

import structlog

from dataflows.sources.market.provider import (
    MINUTES_KEPT,
    RAW_MAX,
    SECOND_NS,
    Past,
    QuoteSeen,
    Rows,
    SetAside,
    TradeSeen,
)
from dataflows.sources.market.request_provider import past_or_nothing
from operators.bar_completion import Minute, MinuteRow
from schemas.errors import Unavailable
from schemas.records import CONTINUOUS, REGULAR

log = structlog.get_logger(__name__)

TRADES_WAITING_MAX = 100_000
SET_ASIDE_MAX = 100
FIRST_WAIT_S, LONGEST_WAIT_S, REQUEST_S = 0.25, 15.0, 10.0
LATE_S = 15
"""So long after a minute's end its bar may still be under way when the socket is cut."""


class SocketProvider:
    """The half of a `Provider` that the feed asks; `start`, `stop` and the socket's thread are the subclass's, which
    calls the methods that begin with `on_`.

    The gap: a socket that was away while minutes ended has missed their bars. Until they have been asked for (`past`)
    those minutes cannot be relied on; a bar that the socket brought is never replaced by an asked one.
    """

    def __init__(
        self,
        name: str,
        symbols: Collection[str],
        past: Past,
        *,
        interval_ns: int,
        stale_s: float,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name, self._past, self._interval_ns, self._stale_s = name, past, interval_ns, stale_s
        self._symbols = frozenset(symbols)
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._rows: dict[int, Rows] = {}
        self._quotes: dict[str, QuoteSeen] = {}
        self._trades: deque[TradeSeen] = deque(maxlen=TRADES_WAITING_MAX)
        self._bad: list[SetAside] = []
        self.bad_count = 0
        self._listening = False
        self._changed_ns = now_ns()  # when it began to listen or was cut
        self._missing_ns = self._changed_ns  # bars of minutes that ended since then may have been missed
        self._heard_ns = 0
        self._refused = ""
        self._gap: tuple[int, int] | None = None
        self._ended = threading.Event()

    # -- for the feed

    def unwell(self, minute: Minute, now_ns: int) -> str:
        with self._lock:
            if not self._listening:
                if self._refused:
                    return self._refused
                away_s = (now_ns - self._changed_ns) / SECOND_NS
                return f"the socket has been away for {away_s:.0f} s" if away_s > 1 else "the socket is away"
            if self._gap is not None and self._gap[0] <= minute.open_ns < self._gap[1]:
                return "the bars that it missed while it was away are not there yet"
            quiet_s = (now_ns - max(self._heard_ns, self._changed_ns)) / SECOND_NS
        if minute.session in (REGULAR, CONTINUOUS) and quiet_s > self._stale_s:
            return f"it has said nothing for {quiet_s:.0f} s"
        return ""

    def rows(self, minute: Minute) -> Rows:
        with self._lock:
            return dict(self._rows.get(minute.open_ns, {}))

    def seen(self) -> tuple[list[QuoteSeen], list[TradeSeen]]:
        with self._lock:
            quotes, self._quotes = list(self._quotes.values()), {}
            trades = list(self._trades)
            self._trades.clear()
        return quotes, trades

    def set_aside(self) -> list[SetAside]:
        with self._lock:
            bad, self._bad = self._bad, []
        return bad

    def history(self, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
        return past_or_nothing(self.name, self._past, first_open_ns, end_ns)

    # -- for the socket's thread

    def on_listening(self) -> None:
        """What is subscribed to comes from now on."""
        interval = self._interval_ns
        with self._lock:
            if self._listening:
                return
            now = self._now_ns()
            self._listening, self._changed_ns, self._refused = True, now, ""
            end = now // interval * interval
            first = max(self._missing_ns // interval * interval, end - MINUTES_KEPT * interval)
            if first >= end:
                return
            gap = self._gap = (first, end)
        threading.Thread(target=self._fill, args=(gap,), daemon=True, name=f"{self.name}-gap").start()

    def on_cut(self, refused: str = "") -> None:
        """Nothing comes any more. `refused`: why the other side does not want us, where it said so."""
        with self._lock:
            if refused and refused != self._refused:
                log.error("market data refused", provider=self.name, reason=refused)
            self._refused = refused or self._refused
            if self._listening:
                self._listening, self._changed_ns = False, self._now_ns()
                missing = self._changed_ns - LATE_S * SECOND_NS
                self._missing_ns = missing if self._gap is None else min(missing, self._gap[0])

    def on_row(self, open_ns: int, row: MinuteRow) -> None:
        with self._lock:
            self._heard_ns = self._now_ns()
            self._rows.setdefault(open_ns, {})[row.symbol] = row
            self._forget()

    def on_quote(self, seen: QuoteSeen) -> None:
        with self._lock:
            self._heard_ns = self._now_ns()
            self._quotes[seen.symbol] = seen

    def on_trade(self, seen: TradeSeen) -> None:
        with self._lock:
            self._heard_ns = self._now_ns()
            self._trades.append(seen)

    def on_bad(self, reason: str, raw: str | bytes) -> None:
        """A message that cannot be taken in: counted, and the feed makes a dead letter of it."""
        told = raw if isinstance(raw, bytes) else raw.encode()
        with self._lock:
            self.bad_count += 1
            # Their time is their place in the dead letters: no two may have the same.
            at_ns = max(self._now_ns(), self._bad[-1].at_ns + 1 if self._bad else 0)
            if len(self._bad) < SET_ASIDE_MAX:
                self._bad.append(SetAside(at_ns, reason, told[:RAW_MAX]))

    # -- the gap

    def _fill(self, gap: tuple[int, int]) -> None:
        """Ask for the missed bars until there is an answer, or another gap, or none of these minutes is of use."""
        first_ns, end_ns = gap
        # A minute that has just ended may not be whole in the answer.
        settled_ns = end_ns + min(2 * SECOND_NS, self._interval_ns // 4)
        wait_s = max(0.0, (settled_ns - self._now_ns()) / SECOND_NS)
        found: dict[int, Rows] | None = None
        while found is None:
            if (
                self._ended.wait(wait_s)
                or self._gap != gap
                or self._now_ns() - end_ns > MINUTES_KEPT * self._interval_ns
            ):
                return
            try:
                found = self._past(first_ns, end_ns)
            except Unavailable as error:
                log.warning("missed bars are not there yet", provider=self.name, error=str(error))
                wait_s = 1.0
        with self._lock:
            for open_ns, rows in found.items():
                known = self._rows.setdefault(open_ns, {})
                self._rows[open_ns] = {**rows, **known}
            self._forget()
            if self._gap == gap:
                self._gap = None
        log.info("missed bars are there", provider=self.name, minutes=len(found))

    def _forget(self) -> None:
        while len(self._rows) > MINUTES_KEPT:
            del self._rows[min(self._rows)]
