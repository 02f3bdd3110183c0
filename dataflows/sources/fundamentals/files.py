"""Files of company figures that are read again whenever they change; the files of a tape are not watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dataflows.sources.rows import RowRules
from dataflows.sources.tape.companyfacts import open_fundamentals
from dataflows.sources.watched_files import WatchedFiles
from operators.bar_completion import FeedSettings
from schemas.records import Fundamentals


class FundamentalsFileSource(WatchedFiles):
    """Reads rows in the format of a tape's fundamentals. Raises BadInput if a file is invalid."""

    def __init__(self, paths: Sequence[Path], *, interval_s: float, now_ns: Callable[[], int] = time.time_ns) -> None:
        files = [open_fundamentals(path, RowRules(FeedSettings())) for path in paths]
        super().__init__(files, Fundamentals, interval_s=interval_s, now_ns=now_ns)
