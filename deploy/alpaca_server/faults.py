"""What goes wrong on purpose, as scripted: each fault once, at the next place of its kind."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

PLACES = ("submit", "cancel", "ask", "account", "update")
KINDS = {
    "submit": ("status", "lost_request", "lost_answer"),
    "cancel": ("status", "lost_request", "lost_answer"),
    "ask": ("status", "lost_request"),
    "account": ("status", "lost_request"),
    "update": ("drop", "duplicate", "late", "swap"),
}


class BrokerFault(NamedTuple):
    """`place`: a request (submit, cancel, ask for orders, account) or an update of the trade stream.

    status        the request is answered with `status` and not carried out
    lost_request  it is not carried out; after `delay_s`, when nobody may wait any more, the answer is 504
    lost_answer   it is carried out; the answer is as above
    drop          the update is never sent
    duplicate     it is sent twice
    late          it is sent `delay_s` later
    swap          it is sent behind the next one
    """

    place: str
    kind: str
    status: int = 500
    delay_s: float = 0.0
    event: str = ""  # update: only of this event ("fill", "partial_fill", "new" ...)


class FaultQueue:
    """The faults that wait, by place, first in first out."""

    def __init__(self) -> None:
        self._pending: dict[str, deque[BrokerFault]] = {place: deque() for place in PLACES}

    def plan(self, fault: BrokerFault, times: int = 1) -> None:
        """Raises ValueError for a place or kind that there is not."""
        if fault.kind not in KINDS.get(fault.place, ()):
            raise ValueError(f"there is no fault {fault.kind!r} at {fault.place!r}")
        self._pending[fault.place].extend([fault] * times)

    def take(self, place: str, event: str = "") -> BrokerFault | None:
        """The next fault at this place, if one waits and is meant for this event."""
        pending = self._pending[place]
        if pending and pending[0].event in ("", event):
            return pending.popleft()
        return None

    def clear(self) -> None:
        for pending in self._pending.values():
            pending.clear()
