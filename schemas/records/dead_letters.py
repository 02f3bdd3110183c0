"""Rejected records (dead letters and late records), and verified heads of the audit chain."""

from __future__ import annotations

from typing import NamedTuple, final


@final
class DeadLetter(NamedTuple):
    """A malformed record and the reason for its rejection.

    `topic` is `file:NAME` for a row of a file, with its line as `offset`, and `feed:PROVIDER` for a provider's message,
    with its arrival time as `offset`.
    """

    topic: str
    partition: int
    offset: int
    stage: str
    ts_ns: int  # the reader's clock before the record
    reason: str
    schema_id: int | None
    raw: bytes


@final
class LateRecord(NamedTuple):
    """Market data that arrived after the clock of its own time slice."""

    topic: str
    partition: int
    offset: int
    stage: str
    ts_ns: int  # the reader's clock before the record
    record_ts_ns: int
    reason: str
    schema_id: int | None
    raw: bytes


@final
class AuditHead(NamedTuple):
    """The head of a topic's audit chain at the time of a successful check (`sinks/audit.py`)."""

    topic: str
    position: int  # number of links up to the head
    ts_ns: int  # wall-clock time of the check
    head: bytes
