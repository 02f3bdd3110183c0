"""Poll a slow external source in a separate thread, so that a dataflow never waits for the network."""

from __future__ import annotations

import queue
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import structlog

from schemas.errors import PlatformError
from schemas.records import Record
from sinks.background_thread import BackgroundThread

log = structlog.get_logger(__name__)

QUEUE_RECORDS_MAX = 10_000
POLL_S = 0.2
BACK_OFF_INTERVALS_MAX = 8
"""Maximum backoff after failures, in intervals."""


class BlockingSource(Protocol):
    """A source to poll. `fetch` returns all records it finds, oldest first. It may block and raise PlatformError."""

    @property
    def interval_s(self) -> float: ...

    def fetch(self) -> list[Record]: ...

    def close(self) -> None: ...


class SeenIds:
    """Remembers the last `size` ids. Returns True for a new id."""

    def __init__(self, size: int, seen: list[str] | None = None) -> None:
        self._size = size
        self._seen: dict[Hashable, None] = dict.fromkeys(seen or [])

    def __call__(self, record_id: Hashable) -> bool:
        if record_id in self._seen:
            return False
        self._seen[record_id] = None
        if len(self._seen) > self._size:
            del self._seen[next(iter(self._seen))]
        return True


class BackgroundPoller:
    """A `PollableSource` (`polled_source.py`) that fetches in a thread at each interval; `poll` returns new records.

    The thread first calls `read_stored_ids` for the ids already in the topic. A failed call is logged and retried with
    backoff. Any other exception is a death of the thread, which then starts again (`sinks/background_thread.py`).
    """

    def __init__(
        self, name: str, source: BlockingSource, *, read_stored_ids: Callable[[], list[str]] = list, ids_max: int
    ) -> None:
        self.interval_s = POLL_S
        self._name, self._source, self._read_stored_ids, self._ids_max = name, source, read_stored_ids, ids_max
        self._queue: queue.Queue[Record] = queue.Queue(QUEUE_RECORDS_MAX)
        self._seen_ids: SeenIds | None = None
        self._thread = BackgroundThread(f"{name} source", self._run)
        self._stop = self._thread.stop_requested
        self.failures = 0

    def start(self) -> BackgroundPoller:
        self._thread.start()
        return self

    def poll(self) -> list[Record]:
        records: list[Record] = []
        while len(records) < 1000:
            try:
                records.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return records

    def close(self) -> None:
        self._thread.request_stop()
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._seen_ids is None:
                    self._seen_ids = SeenIds(self._ids_max, self._read_stored_ids())
                records = self._source.fetch()
            except PlatformError as error:
                self.failures += 1
                log.warning("source poll failed", source=self._name, failures=self.failures, reason=str(error))
                records = []
            else:
                self.failures = 0
            for record in records:
                if self._seen_ids is not None and self._seen_ids(record[0]):
                    self._put(record)
            self._stop.wait(self._source.interval_s * min(1 + self.failures, BACK_OFF_INTERVALS_MAX))
        self._source.close()

    def _put(self, record: Any) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(record, timeout=0.5)
            except queue.Full:
                continue
