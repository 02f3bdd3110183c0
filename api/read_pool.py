"""Route read-only queries to the read replica if it is available, otherwise to the primary."""

from __future__ import annotations

import threading
import time

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

REPLICA_RETRY_S = 5.0
"""Back-off after a failed connection to the replica: each attempt delays a request."""

log = structlog.get_logger(__name__)


class ReadPool:
    """Connections for queries that may return slightly stale data. Queries that must see the caller's last write, or
    that a decision depends on, use the primary.
    """

    def __init__(self, primary: Engine, replica: Engine | None) -> None:
        self.replica = replica
        self._primary, self._replica_retry_at = primary, 0.0
        self._lock = threading.Lock()

    def connect(self) -> Connection:
        """Return a connection. Raises sqlalchemy's OperationalError if the primary is unavailable too."""
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
            log.warning("read replica unavailable, queries go to the primary", reason=reason)
        elif previous_retry_at and not down:
            log.info("read replica available again")

    def close(self) -> None:
        if self.replica is not None:
            self.replica.dispose()
