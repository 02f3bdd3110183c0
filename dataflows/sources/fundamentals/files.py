"""Files of figures, read again whenever they change, for a live run; not those of a tape."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dataflows.sources.rows import RowRules
from dataflows.sources.tape.companyfacts import open_fundamentals
from operators.minutes import FeedSettings
from schemas.errors import BadInput
from schemas.records import Fundamentals, Record


class FundamentalsFiles:
    """An `Outside`. As a tape's fundamentals, known when they are read. Raises BadInput for a wrong file."""

    def __init__(self, paths: Sequence[Path], *, interval_s: float, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.interval_s, self._now_ns = interval_s, now_ns
        self._files = [open_fundamentals(path, RowRules(FeedSettings())) for path in paths]
        self._read: dict[Path, tuple[int, int]] = {}

    def ask(self) -> list[Record]:
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
            out += [row.record._replace(ts_ns=now) for row in file.rows() if isinstance(row.record, Fundamentals)]
            self._read[file.path] = state
        return out

    def close(self) -> None:
        """Nothing stays open."""
