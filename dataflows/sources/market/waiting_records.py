"""The records that wait for a time slice: why a live feed closes the next one before its heartbeat is due.

A thread reports what it reads in the followed topics (`followed_topics.py`). The feed reads when a slice is due.
Times are those of a monotonic clock, so that a change of the wall clock delays nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MILLI_NS, MICRO_NS = 1_000_000, 1_000
COALESCE_NS = 2 * MILLI_NS
"""Records that arrive within this time share one time slice. It also limits the rate to 500 time slices per second."""
_START, _TIMERS = "start", "timers"
RESPONSES = frozenset({"order-refusals", "order-proposals", "risk-events"})
"""Topics with reports to strategies about their own orders. Without a limit, a strategy that repeats its order after
each rejection would cause time slices without end."""


class WaitingRecords:
    """Decides when records that wait require a time slice. All methods may be called from any thread.

    A topic whose clock the feed writes has a waiting record while a record follows the last clock in its log. A
    decision, such as an approved or a rejected order, waits until the feed has closed a time slice after the one in
    which it was made. A timer waits from the event time at which it is due.

    The next time slice is due `COALESCE_NS` after the first record. While the last two time slices have not passed
    risk, the platform is saturated, and the next one is due `saturated_ns` after the last one: more time slices would
    only queue. A stopped risk service therefore delays a command by at most `saturated_ns`. The same wait follows a
    time slice that only records of `RESPONSES` required, if no other record waits.
    """

    def __init__(self, saturated_ns: int, *, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._saturated_ns, self._now_ns = saturated_ns, now_ns
        self._changed = threading.Condition(threading.RLock())
        self._since_ns: dict[str, int] = {}  # topic -> when its first waiting record was read
        self._closed_ns = self._closed_before_ns = -1  # event times of the last two time slices
        self._closed_at_ns = now_ns() - saturated_ns
        self._passed_risk_ns = -1
        self._blocked_to_ns = -1
        self._timers: dict[str, int] = {}  # service -> event time at which its next timer is due
        self._timer_changes = 0
        self._only_responses = False  # whether only records of `RESPONSES` required the last time slice

    def start(self) -> None:
        """Require a time slice at once: records may have arrived while the feed was down."""
        self._add(_START, self._now_ns() - COALESCE_NS)

    # -- from the followed topics

    def add_record(self, topic: str) -> None:
        """Report a record of a topic whose clock the feed writes."""
        self._add(topic, self._now_ns())

    def add_clock(self, topic: str) -> None:
        """Report a clock of such a topic: all records before it are in a time slice."""
        with self._changed:
            self._since_ns.pop(topic, None)

    def add_decision(self, topic: str, ts_ns: int) -> None:
        """Report a record that was decided in the time slice `ts_ns` and takes effect in the next one."""
        with self._changed:
            if ts_ns >= self._closed_ns:
                self._add(topic, self._now_ns())

    def add_timer(self, service: str, due_ns: int) -> None:
        """Report when the next timer of a service is due, in place of an earlier report."""
        with self._changed:
            self._timers[service] = -(-due_ns // MICRO_NS) * MICRO_NS  # time slices have whole microseconds
            self._timer_changes += 1
            self._changed.notify_all()

    def add_risk_clock(self, ts_ns: int) -> None:
        """Report that risk has processed the time slice `ts_ns`."""
        with self._changed:
            self._passed_risk_ns = max(ts_ns, self._passed_risk_ns)
            self._changed.notify_all()

    def _add(self, topic: str, since_ns: int) -> None:
        with self._changed:
            self._since_ns.setdefault(topic, since_ns)
            self._changed.notify_all()

    # -- from the feed

    def next_timer_ns(self, event_ns: int) -> int | None:
        """Return the event time of the next timer after `event_ns`. Timers due until then become waiting records."""
        with self._changed:
            later = [due_ns for due_ns in self._timers.values() if due_ns > event_ns]
            if len(later) < len(self._timers):
                self._add(_TIMERS, self._now_ns())
            return min(later, default=None)

    def due_in_ns(self) -> int | None:
        """Return the time until waiting records require a time slice; 0 if it is due, None if no record waits."""
        with self._changed:
            if not self._since_ns:
                return None
            due_ns = min(self._since_ns.values()) + COALESCE_NS
            repeats_response = self._only_responses and self._since_ns.keys() <= RESPONSES
            if self._closed_before_ns > self._passed_risk_ns or repeats_response:
                due_ns = max(due_ns, self._closed_at_ns + self._saturated_ns)
            return max(0, max(due_ns, self._blocked_to_ns) - self._now_ns())

    def block(self, delay_ns: int) -> None:
        """Report that the feed can close no time slice within `delay_ns`, so that `wait` does not return earlier."""
        with self._changed:
            self._blocked_to_ns = self._now_ns() + delay_ns

    def close(self, ts_ns: int) -> None:
        """Report that the feed closes the time slice `ts_ns`. It contains every record reported so far."""
        with self._changed:
            self._only_responses = bool(self._since_ns) and self._since_ns.keys() <= RESPONSES
            self._since_ns.clear()
            self._timers = {service: due_ns for service, due_ns in self._timers.items() if due_ns > ts_ns}
            self._closed_before_ns, self._closed_ns = self._closed_ns, ts_ns
            self._closed_at_ns = self._now_ns()

    def wait(self, timeout_s: float) -> None:
        """Return when a time slice is due or a timer has changed, at most `timeout_s` later."""
        deadline_ns = self._now_ns() + round(timeout_s * 1e9)
        with self._changed:
            changes = self._timer_changes
            while changes == self._timer_changes and (remaining_ns := deadline_ns - self._now_ns()) > 0:
                due_in_ns = self.due_in_ns()
                if due_in_ns == 0:
                    return
                self._changed.wait((remaining_ns if due_in_ns is None else min(due_in_ns, remaining_ns)) / 1e9)
