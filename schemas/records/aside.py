"""What could not be taken in and was set aside."""

from __future__ import annotations

from typing import NamedTuple


class DeadLetter(NamedTuple):
    """What could not be taken in, and why. `topic` is `file:NAME` for a row of a file, `offset` then its line."""

    topic: str
    partition: int
    offset: int
    stage: str
    ts_ns: int  # the last clock that the reader had passed
    reason: str
    schema_id: int | None
    raw: bytes


class LateRecord(NamedTuple):
    """Market data that came behind its log's clock: the time it belongs to was over."""

    topic: str
    partition: int
    offset: int
    stage: str
    ts_ns: int  # the clock that had passed
    record_ts_ns: int
    reason: str
    schema_id: int | None
    raw: bytes
