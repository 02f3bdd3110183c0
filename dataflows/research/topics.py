"""Recorded topics as pandas frames: of the platform in the state folder, running or stopped, with its archive.

from dataflows.research import topics

topics.read("features", start="2024-03-07", symbols=["AAPL"])
topics.read("fundamentals", as_of="2024-03-07T14:30Z")   # only what the platform knew then
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from configs.settings import Settings
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS, read_topics
from dataflows.research.loaded_bars import symbol_names
from dataflows.research.record_columns import frame_of, record_table, record_types
from dataflows.research.recorded_platform import recorded_platform
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import Record
from schemas.suggestions import did_you_mean

READABLE = tuple(sorted({*INPUT_TOPICS, *DERIVED_TOPICS}))
"""The topics that carry the clock, by which a reader knows that a time slice is complete."""
Time = str | datetime | None
"""An ISO date or time, UTC if it has no zone."""
_GROUP = "research"


class TopicPeriod(NamedTuple):
    """Which records to read: their time is in [start, end), and their time slice is not after `as_of`; None: all."""

    start_ns: int | None = None
    end_ns: int | None = None
    as_of_ns: int | None = None
    symbols: frozenset[str] | None = None

    def contains(self, record: Record) -> bool:
        ts_ns = record.ts_ns
        if (self.start_ns is not None and ts_ns < self.start_ns) or (self.end_ns is not None and ts_ns >= self.end_ns):
            return False
        symbol = getattr(record, "symbol", None) or getattr(getattr(record, "terms", None), "symbol", None)
        return self.symbols is None or symbol is None or symbol in self.symbols


def read(
    topic: str,
    *,
    start: Time = None,
    end: Time = None,
    as_of: Time = None,
    symbols: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Return the records of a topic as a frame: one row per record, in their order in the log, up to its present end.

    `time` is the record's event time in UTC, from which the platform could know it: of a bar, its end. The other
    columns are the fields of the record (docs/howto/topic.md); a field `x_ns` is the column `x_time`. Feature rows have
    one column per feature. Topics with records of several types have the column `type`.

    `start` and `end` select times in [start, end). `as_of` leaves out what the platform received later, so that the
    frame is what was known then. `symbols` selects records by symbol; records without one remain. The topic and its
    archive are read from the beginning. Raises BadInput for an unknown topic, and Unavailable without recorded topics.
    """
    require_topic(topic)
    names = symbol_names(symbols)
    period = TopicPeriod(
        time_ns("start", start),
        time_ns("end", end),
        time_ns("as_of", as_of),
        None if names is None else frozenset(names),
    )
    with recorded_platform() as settings:
        return frame_of(read_table(settings, topic, period))


def read_table(settings: Settings, topic: str, period: TopicPeriod, rows_max: int | None = None) -> pa.Table:
    """Return the records of a topic as an Arrow table, the last `rows_max` of them. Raises Unavailable."""
    with closing(read_topics(settings.kafka, _GROUP, (topic,))) as time_slices:
        records = deque(_records(time_slices, period), rows_max)
    return record_table(record_types(topic), records)


def _records(time_slices: Iterable[TimeSlice], period: TopicPeriod) -> Iterator[Record]:
    for time_slice in time_slices:
        if period.as_of_ns is not None and time_slice.ts_ns > period.as_of_ns:
            return
        for record in time_slice.records:
            if period.contains(record):
                yield record


def require_topic(topic: str) -> None:
    """Raise BadInput with the nearest name if a topic cannot be read."""
    if topic not in READABLE:
        suggestion = did_you_mean(topic, READABLE) or f". Topics: {', '.join(READABLE)}"
        raise BadInput(f"unknown topic {topic!r}{suggestion}")


def time_ns(name: str, value: Time) -> int | None:
    """Return a point in time as nanoseconds since 1970; None for None. Raises BadInput.

    >>> time_ns("start", "1970-01-01T00:01:00"), time_ns("start", None)
    (60000000000, None)
    """
    if value is None:
        return None
    moment: Any = None
    if isinstance(value, str | datetime):
        try:
            moment = pd.Timestamp(value)
        except ValueError:
            moment = None
    if moment is None or moment is pd.NaT:
        raise BadInput(f"{name} must be an ISO date or time such as 2024-01-31, found {value!r}")
    utc = moment.tz_localize("UTC") if moment.tzinfo is None else moment
    return int(utc.as_unit("ns").value)
