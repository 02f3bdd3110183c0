"""A slow outside asked in a thread of its own, so that a dataflow never waits for the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import structlog

from schemas.errors import PlatformError
from schemas.records import Record

log = structlog.get_logger(__name__)

WAITING_MAX = 10_000
POLL_S = 0.2
BACK_OFF_MAX = 8
"""After failures the next call comes after so many intervals at most."""


class Outside(Protocol):
    """What is asked. `ask` gives all it finds, oldest first; it may block and raise PlatformError."""

    @property
    def interval_s(self) -> float: ...

    def ask(self) -> list[Record]: ...

    def close(self) -> None: ...


class Once:
    """Ids that were seen, of the last `size`. True for a new one."""

    def __init__(self, size: int, seen: list[str] | None = None) -> None:
        self._size, self._seen = size, dict.fromkeys(seen or [])

    def __call__(self, found: Hashable) -> bool:
        if found in self._seen:
            return False
        self._seen[found] = None  # type: ignore[index]
        if len(self._seen) > self._size:
            del self._seen[next(iter(self._seen))]
        return True


class Background:
    """A `Polled` (`polled.py`): asks at each interval in a thread and gives what is new at the next poll.

    `written` is asked once, in that thread, for the ids that stand in the topic already; what fails is said in the log
    and tried again, each time later.
    """

    def __init__(
        self, name: str, outside: Outside, *, written: Callable[[], list[str]] = list, remembered: int
    ) -> None:
        self.interval_s = POLL_S
        self._name, self._outside, self._written, self._remembered = name, outside, written, remembered
        self._found: queue.Queue[Record] = queue.Queue(WAITING_MAX)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name} source", daemon=True)
        self.failures = 0

    def start(self) -> Background:
        self._thread.start()
        return self

    def poll(self) -> list[Record]:
        out: list[Record] = []
        while len(out) < 1000:
            try:
                out.append(self._found.get_nowait())
            except queue.Empty:
                break
        return out

    def close(self) -> None:
        self._stop.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        new: Once | None = None
        while not self._stop.is_set():
            try:
                if new is None:
                    new = Once(self._remembered, self._written())
                records = self._outside.ask()
            except PlatformError as error:
                self.failures += 1
                log.warning("source does not answer", source=self._name, failures=self.failures, reason=str(error))
                records = []
            else:
                self.failures = 0
            for record in records:
                if new is not None and new(record[0]):
                    self._put(record)
            self._stop.wait(self._outside.interval_s * min(1 + self.failures, BACK_OFF_MAX))
        self._outside.close()

    def _put(self, record: Any) -> None:
        while not self._stop.is_set():
            try:
                return self._found.put(record, timeout=0.5)
            except queue.Full:
                continue
