"""Block new orders at the broker while the kill switch is on, and show whether an order is being sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dataflows.broker.broker_errors import BrokerRejected
from sinks.host_kill_switch import HostHalt

NOT_SENT = 0
"""The status of a BrokerRejected for a request that was not sent."""


class SubmissionGate:
    """Every new order passes through `submission`. `halt` returns the halt of this host, None if there is none."""

    def __init__(self, halt: Callable[[], HostHalt | None]) -> None:
        self._halt = halt
        self._sending = threading.Lock()

    @contextmanager
    def submission(self) -> Iterator[None]:
        """Hold the gate while one order is sent. Raises BrokerRejected while trading is halted."""
        with self._sending:
            reason = self.closed_reason()
            if reason:
                raise BrokerRejected(NOT_SENT, reason)
            yield

    def closed_reason(self) -> str:
        """Return why no order may be sent, or ""."""
        halt = self._halt()
        return "" if halt is None else f"not sent: {halt.text}"

    def is_idle(self, wait_s: float) -> bool:
        """Whether no order is being sent, or its request ends within `wait_s`. A later order sees the halt."""
        if not self._sending.acquire(timeout=wait_s):
            return False
        self._sending.release()
        return True
