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


class Line(NamedTuple):
    """How a record type is told: its event, its level, and the fields that are worth a line."""

    event: str
    level: int
    fields: tuple[str, ...]


LINES: dict[type, Line] = {
    Order: Line("order approved", logging.INFO, ("order_id", "symbol", "side", "quantity", "order_type", "cause_id")),
    OrderCancel: Line("order cancel", logging.INFO, ("order_id", "symbol", "reason", "cause_id")),
    OrderRefusal: Line("order refused", logging.WARNING, ("cause_id", "symbol", "side", "quantity", "message")),
    Execution: Line(
        "order execution", logging.INFO, ("order_id", "symbol", "side", "exec_type", "quantity", "price", "text")
    ),
    RiskFence: Line("trading state", logging.WARNING, ("state", "epoch", "reason", "cause_id")),
    RiskEvent: Line("circuit breaker", logging.WARNING, ("breaker", "scope", "scope_key", "state", "found", "limit")),
    DeadLetter: Line("dead letter", logging.WARNING, ("topic", "partition", "offset", "reason")),
}


class RecordLog:
    """Call it with every record a service writes; those of other types pass by."""

    def __init__(self) -> None:
        self._second = 0
        self._written: dict[type, int] = {}

    def __call__(self, record: Record) -> None:
        line = LINES.get(type(record))
        if line is None:
            return
        second = int(time.monotonic())
        if second != self._second:
            self._begin(second)
        written = self._written.get(type(record), 0) + 1
        self._written[type(record)] = written
        if written <= LINES_PER_SECOND:
            fields: dict[str, Any] = {name: getattr(record, name) for name in line.fields}
            event = line.event
            if type(record) is Execution and record.exec_type != TRADE:
                event = "order update"
            log.log(line.level, event, **fields, ts_ns=record.ts_ns)

    def _begin(self, second: int) -> None:
        """Say what the last second left out."""
        for kind, written in self._written.items():
            if written > LINES_PER_SECOND:
                left_out = written - LINES_PER_SECOND
                log.info(f"{LINES[kind].event}: more of them than are logged", left_out=left_out)
        self._second, self._written = second, {}
