"""Leases of the services of which only one process may act, also across machines: the feed and the broker gateway.

The holder keeps an advisory lock on a dedicated connection, and its epoch in table `service_leases`. PostgreSQL frees
the lock when the holder's connection ends. Whoever takes the lease next raises the epoch, so that the former holder
recognizes its loss. While PostgreSQL does not respond, nobody can take the lease.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import psycopg2
import structlog

from schemas.errors import Unavailable
from sinks.background_thread import BackgroundThread
from sinks.database import libpq_url

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

log = structlog.get_logger(__name__)

CHECK_INTERVAL_S = 1.0
ACQUIRE_TIMEOUT_S = 15.0
"""A holder that vanished without closing its connection loses the lock within this time (TCP keepalive)."""
_LOCK_CLASS = 7_203_114
_CONNECTION_OPTIONS = (
    "-c statement_timeout=5000 -c tcp_keepalives_idle=3 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
)
_ACQUIRE_SQL = """
    INSERT INTO service_leases (service, holder, epoch, renewed_at) VALUES (%(service)s, %(holder)s, 1, now())
    ON CONFLICT (service) DO UPDATE SET holder = EXCLUDED.holder, epoch = service_leases.epoch + 1, renewed_at = now()
    RETURNING epoch
"""
_RENEW_SQL = "UPDATE service_leases SET renewed_at = now() WHERE service = %s AND epoch = %s"


class LeaseLost(Unavailable):
    """Another process has taken the lease: this one must not act any more."""


class ServiceLease:
    """The lease of one service. `acquire` takes it; `require_lease` checks in PostgreSQL whether it is still held.

    `name` identifies the service in the database. Raises Unavailable if another process holds the lease for longer than
    `timeout_s`, or if PostgreSQL does not respond.
    """

    def __init__(self, database_url: str, name: str, *, timeout_s: float = ACQUIRE_TIMEOUT_S) -> None:
        self._url, self._name, self._timeout_s = libpq_url(database_url), name, timeout_s
        self._holder = f"{socket.gethostname()} process {os.getpid()}"
        self._connection: Connection | None = None
        self._locked = False  # whether the current connection has the advisory lock
        self._lock = threading.Lock()
        self._watchdog: BackgroundThread | None = None
        self.epoch = 0

    def acquire(self) -> int:
        """Take the lease and return its epoch."""
        deadline = time.monotonic() + self._timeout_s
        self._connect()
        while not self._try_lock():
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the lease of {self._name} is held by {self._current_holder()}; only one process may run "
                    f"{self._name}, so stop that one first"
                )
            time.sleep(0.2)
        try:
            self.epoch = self._execute(_ACQUIRE_SQL, {"service": self._name, "holder": self._holder})
        except psycopg2.Error as error:
            raise Unavailable(f"cannot take the lease of {self._name}: {str(error).splitlines()[0]}") from error
        log.info("lease taken", lease=self._name, epoch=self.epoch)
        return self.epoch

    def require_lease(self) -> bool:
        """Return True if the lease is held, False if that is unknown at the moment. Raises LeaseLost.

        It is unknown while PostgreSQL does not respond, or still holds the lock of this process's last connection.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connect()
                locked = self._locked or self._try_lock()
                renewed = self._execute(_RENEW_SQL, (self._name, self.epoch))
            except (psycopg2.OperationalError, psycopg2.InterfaceError, Unavailable):
                self._disconnect()
                return False
            if renewed != 1:
                raise self._lost()
            return locked

    def watch(self, on_lost: Callable[[str], None] | None = None) -> None:
        """Check the lease every second in a thread. After a loss, `on_lost` is called; by default the process ends."""
        end = on_lost or _end_process

        def run() -> None:
            while not watchdog.stop_requested.wait(CHECK_INTERVAL_S):
                try:
                    self.require_lease()
                except LeaseLost as error:
                    end(str(error))
                    watchdog.request_stop()

        watchdog = BackgroundThread(f"lease-{self._name}", run)
        self._watchdog = watchdog.start()

    def release(self) -> None:
        """Give the lease up, so that a successor need not wait."""
        if self._watchdog is not None:
            self._watchdog.request_stop()
        with self._lock:
            self._disconnect()

    def _connect(self) -> None:
        try:
            self._connection = psycopg2.connect(
                self._url,
                application_name=f"lease {self._name}",
                connect_timeout=5,
                tcp_user_timeout=6000,  # ms; an unreachable server must not block the check for minutes
                options=_CONNECTION_OPTIONS,
            )
        except psycopg2.OperationalError as error:
            raise Unavailable(f"PostgreSQL does not respond: {(str(error).splitlines() or [''])[0]}") from error
        self._connection.autocommit = True

    def _try_lock(self) -> bool:
        self._locked = bool(self._execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK_CLASS, self._name)))
        return self._locked

    def _execute(self, statement: str, values: object) -> int:
        """Return the first value of the result, or the number of changed rows."""
        assert self._connection is not None, "the lease has a connection"
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)  # type: ignore[arg-type]  # psycopg2 accepts a tuple or a dict
            row = cursor.fetchone() if cursor.description is not None else None
            return cursor.rowcount if row is None else int(row[0])

    def _current_holder(self) -> str:
        with suppress(psycopg2.Error), closing(psycopg2.connect(self._url, connect_timeout=5)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT holder FROM service_leases WHERE service = %s", (self._name,))
            row = cursor.fetchone()
            if row is not None:
                return str(row[0])
        return "another process"

    def _lost(self) -> LeaseLost:
        self._disconnect()
        return LeaseLost(
            f"the lease of {self._name} (epoch {self.epoch}) was taken by {self._current_holder()}; this process stops"
        )

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
        self._connection, self._locked = None, False


def _end_process(reason: str) -> None:
    """End at once, without writing anything more: the successor continues from the last snapshot."""
    log.critical(reason)
    sys.stderr.flush()
    os._exit(1)
