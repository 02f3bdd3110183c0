"""Files of headlines that are read again whenever they change. (The setting for a tape is `market_data.files.news`.)"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dataflows.sources.rows import RowRules
from dataflows.sources.tape.rules import NEWS
from dataflows.sources.tape.tape_file import TapeFile
from dataflows.sources.watched_files import WatchedFiles
from operators.bar_completion import FeedSettings
from operators.news import Tagger
from schemas.records import NewsItem


class NewsFileSource(WatchedFiles):
    """Reads rows in the format of a tape's news. Raises BadInput if a file is invalid."""

    def __init__(
        self, paths: Sequence[Path], *, interval_s: float, tag: Tagger, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        files = [TapeFile(path, NEWS, RowRules(FeedSettings()), tag) for path in paths]
        super().__init__(files, NewsItem, interval_s=interval_s, now_ns=now_ns)
