"""Background threads: restarted with back-off when they die, every death logged and counted.

A dataflow reports `thread_reports()` in its statistics file; the metrics and the alert `thread_death` read it there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

log = structlog.get_logger(__name__)

BACK_OFF_S_MIN, BACK_OFF_S_MAX = 0.5, 60.0
ERROR_CHARACTERS_MAX = 300


class ThreadReport(NamedTuple):
    """All threads of one name in this process. `died_at` is in seconds since the epoch, 0.0 without a death."""

    name: str
    running: int
    deaths: int
    died_at: float
    error: str


_reports: dict[str, ThreadReport] = {}
_reports_lock = threading.Lock()


def thread_reports() -> list[ThreadReport]:
    """Return the report of every name that ran in this process, by name."""
    with _reports_lock:
        return [_reports[name] for name in sorted(_reports)]


def _change_report(name: str, *, running: int = 0, error: str | None = None) -> ThreadReport:
    with _reports_lock:
        report = _reports.get(name, ThreadReport(name, running=0, deaths=0, died_at=0.0, error=""))
        report = report._replace(running=report.running + running)
        if error is not None:
            report = report._replace(deaths=report.deaths + 1, died_at=time.time(), error=error)
        _reports[name] = report
    return report


class BackgroundThread:
    """Runs `run` in a daemon thread named `name`.

    The thread dies if `run` raises, or returns before `stop_requested` is set. Then `run` starts again in the same
    thread after `back_off_s`, doubled with each death up to `BACK_OFF_S_MAX` and reset by a run of that length. With
    `restart` False, `run` is a task that runs once: its return is not a death, and after an exception the thread ends.
    """

    def __init__(
        self, name: str, run: Callable[[], object], *, restart: bool = True, back_off_s: float = BACK_OFF_S_MIN
    ) -> None:
        self.name = name
        self.stop_requested = threading.Event()
        self._target, self._restart, self._back_off_s = run, restart, back_off_s
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> BackgroundThread:
        _change_report(self.name, running=1)
        self._thread.start()
        return self

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def ended(self) -> bool:
        """Whether the thread was started and has ended without a request."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self.stop_requested.is_set()

    def request_stop(self) -> None:
        self.stop_requested.set()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended, at most `timeout_s`. Return at once if it was never started."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._run_repeatedly()
        finally:
            _change_report(self.name, running=-1)

    def _run_repeatedly(self) -> None:
        back_off_s = self._back_off_s
        while not self.stop_requested.is_set():
            started_s = time.monotonic()
            try:
                self._target()
            except Exception as error:  # noqa: BLE001  (whatever ends a thread is counted, logged and alerted)
                self._record_death(f"{type(error).__name__}: {error}", error)
            else:
                if not self._restart or self.stop_requested.is_set():
                    return
                self._record_death("the thread returned without a request", None)
            if not self._restart:
                return
            if time.monotonic() - started_s >= BACK_OFF_S_MAX:
                back_off_s = self._back_off_s
            self.stop_requested.wait(back_off_s)
            back_off_s = min(2 * back_off_s, BACK_OFF_S_MAX)

    def _record_death(self, error: str, exception: Exception | None) -> None:
        one_line = " ".join(error.split())[:ERROR_CHARACTERS_MAX]
        report = _change_report(self.name, error=one_line)
        log.error(
            "background thread died",
            thread=self.name,
            deaths=report.deaths,
            reason=one_line,
            restarted=self._restart,
            exc_info=exception,
        )
