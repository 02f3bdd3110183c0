"""Find the services that an edited source file affects, for `start --dev`. Compares file times and imports nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dataflows.runtime.topology import COMPACT, COMPACT_SERVICES
from deploy.home import REPOSITORY
from deploy.supervisor.process_spec import DATAFLOW_NAMES, ProcessKind, ProcessSpec

SUFFIXES = (".py", ".yaml", ".avsc")
SCAN_S = 1.0
_SHARED_FOLDERS = ("configs", "sinks", "operators", "schemas")
FOLDERS_OF_KIND = {
    ProcessKind.DATAFLOW: ("dataflows", *_SHARED_FOLDERS),
    ProcessKind.API: ("api", "dataflows", *_SHARED_FOLDERS),
    ProcessKind.ALERTS: ("api", "dataflows", *_SHARED_FOLDERS),
}
"""The code that each kind of process runs. The supervisor, the checks and the dashboard are not restarted."""


class SourceWatcher:
    """Finds edited files under `root` and in `extra_files` (the user's settings file) by size and modification time.

    Edits are reported once a scan finds no newer one, because an editor or git writes many files in sequence.
    """

    def __init__(self, root: Path = REPOSITORY, extra_files: Iterable[Path] = ()) -> None:
        self._folders = [root / name for name in sorted({name for names in FOLDERS_OF_KIND.values() for name in names})]
        self._root, self._extra_files = root, tuple(extra_files)
        self._last_stamps = self._read_stamps()
        self._edited: set[Path] = set()
        self._next_at = 0.0

    def changed_files(self, now: float) -> list[Path]:
        """Return the files that were written, created or removed since the last report.

        Scans at most once a second. `now` is in seconds of a monotonic clock.
        """
        if now < self._next_at:
            return []
        self._next_at = now + SCAN_S
        stamps = self._read_stamps()
        changed = {path for path, _ in stamps.items() ^ self._last_stamps.items()}
        self._last_stamps = stamps
        self._edited |= changed
        if changed or not self._edited:
            return []
        edited, self._edited = sorted(self._edited), set()
        return edited

    def affects(self, service: ProcessSpec, edited: Iterable[Path]) -> bool:
        """Return whether a service runs code of these files. A dataflow's own module affects only that dataflow."""
        return any(self._affects_path(service, path) for path in edited)

    def _affects_path(self, service: ProcessSpec, path: Path) -> bool:
        if service.kind not in FOLDERS_OF_KIND:
            return False
        if path in self._extra_files:
            return True
        top, *rest = path.relative_to(self._root).parts
        if (
            service.kind is ProcessKind.DATAFLOW
            and top == "dataflows"
            and len(rest) == 1
            and path.stem in (*DATAFLOW_NAMES, COMPACT)
        ):
            if service.replica_of == COMPACT and path.stem in COMPACT_SERVICES:
                return True
            return path.stem in (service.name, service.replica_of)
        return top in FOLDERS_OF_KIND[service.kind]

    def _read_stamps(self) -> dict[Path, tuple[int, int]]:
        stamps = {}
        for path in (*self._sources(), *self._extra_files):
            try:
                file_stat = path.stat()
            except FileNotFoundError:
                continue  # removed since it was listed
            stamps[path] = (file_stat.st_mtime_ns, file_stat.st_size)
        return stamps

    def _sources(self) -> Iterator[Path]:
        for top in self._folders:
            for folder, folders, files in os.walk(top):
                folders[:] = [name for name in folders if name != "__pycache__"]
                yield from (Path(folder, name) for name in files if name.endswith(SUFFIXES))
