"""Scripted faults of the local broker. Each one occurs once, at the next request or update of its place."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from deploy.name_arguments import unknown_name

PLACES = ("submit", "cancel", "ask", "account", "activities", "update")
KINDS = {
    "submit": ("status", "lost_request", "lost_answer"),
    "cancel": ("status", "lost_request", "lost_answer"),
    "ask": ("status", "lost_request"),
    "account": ("status", "lost_request"),
    "activities": ("status", "lost_request"),
    "update": ("drop", "duplicate", "late", "swap"),
}


class BrokerFault(NamedTuple):
    """`place`: a request (submit, cancel, account, or ask for queries) or an update of the trade stream.

    status        the request is rejected with HTTP status `status`
    lost_request  the request is not carried out; the response after `delay_s` is 504
    lost_answer   the request is carried out; the response after `delay_s` is 504
    drop          the update is never sent
    duplicate     the update is sent twice
    late          the update is sent `delay_s` later
    swap          the update is sent after the next one
    """

    place: str
    kind: str
    status: int = 500
    delay_s: float = 0.0
    event: str = ""  # for updates: only this event ("fill", "partial_fill", "new" ...)


class FaultQueue:
    """The pending faults by place, first in, first out."""

    def __init__(self) -> None:
        self._pending: dict[str, deque[BrokerFault]] = {place: deque() for place in PLACES}

    def plan(self, fault: BrokerFault, times: int = 1) -> None:
        """Add a fault `times` times. Raises ValueError for an unknown place or kind."""
        if fault.place not in KINDS:
            raise ValueError(unknown_name("place", fault.place, KINDS))
        if fault.kind not in KINDS[fault.place]:
            raise ValueError(unknown_name(f"{fault.place} fault", fault.kind, KINDS[fault.place]))
        self._pending[fault.place].extend([fault] * times)

    def pop(self, place: str, event: str = "") -> BrokerFault | None:
        """Remove and return the next fault of this place, if it applies to this event."""
        pending = self._pending[place]
        if pending and pending[0].event in ("", event):
            return pending.popleft()
        return None

    def clear(self) -> None:
        for pending in self._pending.values():
            pending.clear()
