"""What could not be taken in and was set aside; and heads of the audit chain, put aside to hold the past to."""

from __future__ import annotations

from typing import NamedTuple


class DeadLetter(NamedTuple):
    """What could not be taken in, and why. `topic` is `file:NAME` for a row of a file, `offset` then its
    line, and `feed:PROVIDER` for a message of a provider, `offset` then when it came.
    """

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


class AuditHead(NamedTuple):
    """The head of a topic's audit chain as a check found it right (`sinks/audit.py`)."""

    topic: str
    position: int  # links up to here
    ts_ns: int  # when, by the wall clock of the check
    head: bytes
