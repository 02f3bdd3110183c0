"""Where queries for display go: to a read replica where there is one and it answers, else to the primary."""

from __future__ import annotations

import threading
import time

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

REPLICA_RETRY_S = 5.0
"""So long after a replica did not answer it is not asked again: each attempt may cost a request its patience."""

log = structlog.get_logger(__name__)


class ReadPool:
    """Connections for queries whose answer may be a moment old. What a caller wrote just now, and what something is
    decided by, is read from the primary.
    """

    def __init__(self, primary: Engine, replica: Engine | None) -> None:
        self.replica = replica
        self._primary, self._replica_retry_at = primary, 0.0
        self._lock = threading.Lock()

    def connect(self) -> Connection:
        """Raises sqlalchemy's OperationalError where the primary does not answer either."""
        if self.replica is None or time.monotonic() < self._replica_retry_at:
            return self._primary.connect()
        try:
            connection = self.replica.connect()
        except OperationalError as error:
            self._log_replica(down=True, reason=str(error.orig).strip().splitlines()[0])
            return self._primary.connect()
        self._log_replica(down=False)
        return connection

    def _log_replica(self, *, down: bool, reason: str = "") -> None:
        with self._lock:
            previous_retry_at, self._replica_retry_at = (
                self._replica_retry_at,
                time.monotonic() + REPLICA_RETRY_S if down else 0.0,
            )
        if down and not previous_retry_at:
            log.warning("read replica away", reason=reason, until="it answers, the primary is asked")
        elif previous_retry_at and not down:
            log.info("read replica back")

    def close(self) -> None:
        if self.replica is not None:
            self.replica.dispose()
