"""Write one log line for each record that an operator looks for: orders, executions, refusals, halts.

The topics hold the records; the log helps to find them. At most `LINES_PER_SECOND` lines of each record type are
written, so that logging does not slow trading down. A summary line counts the suppressed ones.
"""

from __future__ import annotations

import logging
import time
from typing import Any, NamedTuple

import structlog

from schemas.records import (
    RESUMED,
    SUSPENDED,
    TRADE,
    CashTransfer,
    DeadLetter,
    Execution,
    Order,
    OrderCancel,
    OrderRefusal,
    Record,
    RiskEvent,
    RiskFence,
    StrategyAction,
    StrategySuspension,
)
from schemas.records.flat import to_flat_dict

log = structlog.get_logger(__name__)

LINES_PER_SECOND = 20


class LogLine(NamedTuple):
    """How a record type is logged: its event, its level and its fields."""

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
    CashTransfer: LogLine(
        "cash transfer", logging.INFO, ("transfer_id", "kind", "amount", "currency", "source", "actor", "reason")
    ),
    RiskFence: LogLine("trading state", logging.WARNING, ("state", "epoch", "reason", "cause_id")),
    RiskEvent: LogLine(
        "circuit breaker", logging.WARNING, ("breaker", "scope", "scope_key", "state", "found", "limit")
    ),
    StrategyAction: LogLine(
        "strategy action", logging.INFO, ("action_id", "strategy", "kind", "symbol", "arguments", "reason")
    ),
    StrategySuspension: LogLine(
        "strategy suspension", logging.ERROR, ("strategy", "state", "symbol", "error_type", "message", "file", "line")
    ),
    DeadLetter: LogLine("dead letter", logging.WARNING, ("topic", "partition", "offset", "reason")),
}


class RecordLog:
    """Call it with every record that a service writes. Records of types without a `LogLine` are ignored."""

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
            values = to_flat_dict(record)
            fields: dict[str, Any] = {name: values[name] for name in line.fields}
            event, level = line.event, line.level
            if type(record) is Execution and record.exec_type != TRADE:
                event = "order update"
            elif type(record) is StrategyAction and record.kind in (SUSPENDED, RESUMED):
                event, level = "strategy suspension", logging.ERROR
            log.log(level, event, **fields, ts_ns=record.ts_ns)

    def _start_second(self, second: int) -> None:
        """Log how many lines of the last second were suppressed."""
        for record_type, count in self._line_counts.items():
            if count > LINES_PER_SECOND:
                suppressed = count - LINES_PER_SECOND
                log.info(f"{LOG_LINES[record_type].event}: log lines suppressed", suppressed=suppressed)
        self._second, self._line_counts = second, {}
