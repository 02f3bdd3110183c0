"""One line in a service's log for each record that a person would look for: orders, executions, refusals, halts.

The topics hold the records; the log helps to find them. It must not slow trading down, so that of one kind at most
`LINES_PER_SECOND` are written, and then how many were not.
"""

from __future__ import annotations

import logging
import time
from typing import Any, NamedTuple

import structlog

from schemas.records import (
    TRADE,
    DeadLetter,
    Execution,
    Order,
    OrderCancel,
    OrderRefusal,
    Record,
    RiskEvent,
    RiskFence,
)

log = structlog.get_logger(__name__)

LINES_PER_SECOND = 20


class LogLine(NamedTuple):
    """How a record type is told: its event, its level, and the fields that are worth a line."""

    event: str
    level: int
    fields: tuple[str, ...]


LOG_LINES: dict[type, LogLine] = {
    Order: LogLine(
        "order approved", logging.INFO, ("order_id", "symbol", "side", "quantity", "order_type", "cause_id")
    ),
    OrderCancel: LogLine("order cancel", logging.INFO, ("order_id", "symbol", "reason", "cause_id")),
    OrderRefusal: LogLine("order refused", logging.WARNING, ("cause_id", "symbol", "side", "quantity", "message")),
    Execution: LogLine(
        "order execution", logging.INFO, ("order_id", "symbol", "side", "exec_type", "quantity", "price", "text")
    ),
    RiskFence: LogLine("trading state", logging.WARNING, ("state", "epoch", "reason", "cause_id")),
    RiskEvent: LogLine(
        "circuit breaker", logging.WARNING, ("breaker", "scope", "scope_key", "state", "found", "limit")
    ),
    DeadLetter: LogLine("dead letter", logging.WARNING, ("topic", "partition", "offset", "reason")),
}


class RecordLog:
    """Call it with every record a service writes; those of other types pass by."""

    def __init__(self) -> None:
        self._second = 0
        self._line_counts: dict[type, int] = {}

    def __call__(self, record: Record) -> None:
        line = LOG_LINES.get(type(record))
        if line is None:
            return
        second = int(time.monotonic())
        if second != self._second:
            self._start_second(second)
        count = self._line_counts.get(type(record), 0) + 1
        self._line_counts[type(record)] = count
        if count <= LINES_PER_SECOND:
            fields: dict[str, Any] = {name: getattr(record, name) for name in line.fields}
            event = line.event
            if type(record) is Execution and record.exec_type != TRADE:
                event = "order update"
            log.log(line.level, event, **fields, ts_ns=record.ts_ns)

    def _start_second(self, second: int) -> None:
        """Say what the last second left out."""
        for record_type, count in self._line_counts.items():
            if count > LINES_PER_SECOND:
                suppressed = count - LINES_PER_SECOND
                log.info(f"{LOG_LINES[record_type].event}: more of them than are logged", left_out=suppressed)
        self._second, self._line_counts = second, {}
