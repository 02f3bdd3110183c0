"""Statistics file of a running dataflow, rewritten about once a second and read by the CLI and the API.

It is a file and not a port, so that a hung process is detected by the age of its file.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import psutil
import structlog

from schemas.records import Configuration
from sinks.background_thread import thread_reports

log = structlog.get_logger(__name__)


class Stats:
    """Writes `<folder>/<service>.json` at most once a second, or `<service>-<replica>.json` if several processes run
    the service. Without a folder, as in tests and backtests, it writes nothing.
    """

    def __init__(
        self, service: str, folder: Path | None, *, interval_s: float = 1.0, replica: str | None = None
    ) -> None:
        self._service = service
        self.name = service if replica is None else f"{service}-{replica}"
        self._path = None if folder is None else folder / f"{self.name}.json"
        self._interval_s = interval_s
        self._started_at = time.time()
        self._next_write_s = 0.0
        self._last_slice_ns: Any = None
        self._progressed_at = self._started_at
        self._process = psutil.Process()
        self.records_out = 0
        self.slices = 0
        self._configurations: dict[int, dict[str, Any]] = {}  # by stage
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def configuration(self) -> dict[str, Any] | None:
        """The configuration that all stages of the process have applied, as the file reports it; None without one."""
        return min(self._configurations.values(), key=lambda one: int(one["number"]), default=None)

    def report_configuration(self, configuration: Configuration, since_ns: int, stage: int = 0) -> None:
        """Report the configuration that a stage has applied, and the time slice from which on it is in force."""
        before = self.configuration
        self._configurations[stage] = {
            "id": configuration.configuration_id,
            "number": configuration.number,
            "since_ns": since_ns,
        }
        if before is None or before["id"] != (self.configuration or {})["id"]:
            log.info(
                "configuration applied",
                configuration=configuration.configuration_id,
                since_ns=since_ns,
                actor=configuration.actor,
                reason=configuration.reason,
            )

    def write_due(self) -> bool:
        """Return whether the next `write` writes the file. Cheap: called for every batch."""
        return self._path is not None and time.monotonic() >= self._next_write_s

    def write(self, **values: Any) -> None:
        """Write the file if there is a folder.

        `values` are current: last_tick_ns, records_in, dead_letters, late_records, duplicates, seq_gaps.
        """
        if self._path is None:
            return
        self._next_write_s = time.monotonic() + self._interval_s
        if values.get("last_tick_ns") != self._last_slice_ns:
            self._last_slice_ns, self._progressed_at = values.get("last_tick_ns"), time.time()
        document = {
            "service": self._service,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "updated_at": time.time(),
            "records_out": self.records_out,
            "ticks": self.slices,
            "configuration": self.configuration,
            "moved_at": self._progressed_at,
            "cpu_s": round(time.process_time(), 3),
            "rss_bytes": self._process.memory_info().rss,
            "threads": [report._asdict() for report in thread_reports()],
            **values,
        }
        temporary = self._path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(document))
        temporary.replace(self._path)
