"""Files that are read again whenever they change, for a live run; not those of a tape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from dataflows.sources.tape.files import TapeRow
from schemas.errors import BadInput
from schemas.records import Record


class RowsFile(Protocol):
    """One file of records, such as a tape's."""

    @property
    def path(self) -> Path: ...

    def rows(self) -> Iterator[TapeRow]: ...


class WatchedFiles:
    """An `Outside`: the records of type `kind` of every file that has changed, known when they are read."""

    def __init__(
        self, files: Sequence[RowsFile], kind: Any, *, interval_s: float, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.interval_s, self._now_ns = interval_s, now_ns
        self._files, self._kind = files, kind
        self._read: dict[Path, tuple[int, int]] = {}

    def ask(self) -> list[Record]:
        """Raises BadInput for a file that cannot be read."""
        out: list[Record] = []
        for file in self._files:
            try:
                stat = file.path.stat()
            except OSError as error:
                raise BadInput(f"file {file.path} cannot be read: {error.strerror}") from error
            state = (stat.st_mtime_ns, stat.st_size)
            if self._read.get(file.path) == state:
                continue
            now = self._now_ns()
            found: list[Any] = [row.record for row in file.rows() if isinstance(row.record, self._kind)]
            out += [record._replace(ts_ns=now) for record in found]
            self._read[file.path] = state
        return out

    def close(self) -> None:
        """Nothing stays open."""
