"""Files that are read again whenever they change, for a live run; the files of a tape are not watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from dataflows.sources.tape.tape_file import TapeRow
from schemas.errors import BadInput
from schemas.records import Record


class RecordFile(Protocol):
    """One file of records, such as a file of a tape."""

    @property
    def path(self) -> Path: ...

    def rows(self) -> Iterator[TapeRow]: ...


class WatchedFiles:
    """A `BlockingSource` of the `record_type` records of every changed file, with the read time as `ts_ns`."""

    def __init__(
        self,
        files: Sequence[RecordFile],
        record_type: Any,
        *,
        interval_s: float,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_s, self._now_ns = interval_s, now_ns
        self._files, self._record_type = files, record_type
        self._file_versions: dict[Path, tuple[int, int]] = {}

    def fetch(self) -> list[Record]:
        """Read the changed files. Raises BadInput if a file cannot be read."""
        all_records: list[Record] = []
        for file in self._files:
            try:
                stat = file.path.stat()
            except OSError as error:
                raise BadInput(f"file {file.path} cannot be read: {error.strerror}") from error
            version = (stat.st_mtime_ns, stat.st_size)
            if self._file_versions.get(file.path) == version:
                continue
            now_ns = self._now_ns()
            records: list[Any] = [row.record for row in file.rows() if isinstance(row.record, self._record_type)]
            all_records += [record._replace(ts_ns=now_ns) for record in records]
            self._file_versions[file.path] = version
        return all_records

    def close(self) -> None:
        """Do nothing: no file stays open."""
