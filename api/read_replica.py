"""Where queries for display go: to a read replica where there is one and it answers, else to the primary."""

from __future__ import annotations

import threading
import time

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

AWAY_S = 5.0
"""So long after a replica did not answer it is not asked again: each attempt may cost a request its patience."""

log = structlog.get_logger(__name__)


class Reads:
    """Connections for queries whose answer may be a moment old. What a caller wrote just now, and what something is
    decided by, is read from the primary.
    """

    def __init__(self, primary: Engine, replica: Engine | None) -> None:
        self.replica = replica
        self._primary, self._away_until = primary, 0.0
        self._lock = threading.Lock()

    def connect(self) -> Connection:
        """Raises sqlalchemy's OperationalError where the primary does not answer either."""
        if self.replica is None or time.monotonic() < self._away_until:
            return self._primary.connect()
        try:
            connection = self.replica.connect()
        except OperationalError as error:
            self._note(away=True, reason=str(error.orig).strip().splitlines()[0])
            return self._primary.connect()
        self._note(away=False)
        return connection

    def _note(self, *, away: bool, reason: str = "") -> None:
        with self._lock:
            before, self._away_until = self._away_until, time.monotonic() + AWAY_S if away else 0.0
        if away and not before:
            log.warning("read replica away", reason=reason, until="it answers, the primary is asked")
        elif before and not away:
            log.info("read replica back")

    def close(self) -> None:
        if self.replica is not None:
            self.replica.dispose()
