"""`start --dev`: which services an edited source file concerns. Looks at the files' times; nothing is imported."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.home import REPOSITORY
from deploy.supervisor.service import DATAFLOW_NAMES, Kind, Service

SUFFIXES = (".py", ".yaml", ".avsc")
SCAN_S = 1.0
_SHARED = ("configs", "sinks", "operators", "schemas")
FOLDERS = {
    Kind.DATAFLOW: ("dataflows", *_SHARED),
    Kind.API: ("api", "dataflows", *_SHARED),
    Kind.ALERTS: ("api", "dataflows", *_SHARED),
}
"""What each kind of process runs. The supervisor, the scheduled checks and the dashboard are not started again."""


class Edits:
    """Finds edited files under `root`, and `others` (the user's settings file), by size and time of change.

    An edit is told once a scan finds nothing newer: an editor or git writes many files, one after another.
    """

    def __init__(self, root: Path = REPOSITORY, others: Iterable[Path] = ()) -> None:
        self._folders = [root / name for name in sorted({name for names in FOLDERS.values() for name in names})]
        self._root, self._others = root, tuple(others)
        self._seen = self._stamps()
        self._edited: set[Path] = set()
        self._next_at = 0.0

    def told(self, now: float) -> list[Path]:
        """Files that were written, made or removed since they were told last. Scans once a second at most; `now` in
        seconds of a clock that does not jump.
        """
        if now < self._next_at:
            return []
        self._next_at = now + SCAN_S
        stamps = self._stamps()
        newer = {path for path, _ in stamps.items() ^ self._seen.items()}
        self._seen = stamps
        self._edited |= newer
        if newer or not self._edited:
            return []
        edited, self._edited = sorted(self._edited), set()
        return edited

    def concern(self, service: Service, edited: Iterable[Path]) -> bool:
        """Whether a service runs code of one of these files. A dataflow's own module concerns that dataflow alone."""
        return any(self._concerns(service, path) for path in edited)

    def _concerns(self, service: Service, path: Path) -> bool:
        if service.kind not in FOLDERS:
            return False
        if path in self._others:
            return True
        top, *rest = path.relative_to(self._root).parts
        if service.kind is Kind.DATAFLOW and top == "dataflows" and len(rest) == 1 and path.stem in DATAFLOW_NAMES:
            return path.stem in (service.name, service.replica_of)
        return top in FOLDERS[service.kind]

    def _stamps(self) -> dict[Path, tuple[int, int]]:
        stamps = {}
        for path in (*self._sources(), *self._others):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue  # removed since it was listed
            stamps[path] = (found.st_mtime_ns, found.st_size)
        return stamps

    def _sources(self) -> Iterator[Path]:
        for top in self._folders:
            for folder, folders, files in os.walk(top):
                folders[:] = [name for name in folders if name != "__pycache__"]
                yield from (Path(folder, name) for name in files if name.endswith(SUFFIXES))
