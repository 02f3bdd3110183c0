"""Execution reports of the venue for all orders: fills, cancels, expiries and rejections."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select

from api.json_types import ApiModel, TextLine, utc
from api.order_responses import ExecutionReport, report_fields
from api.pagination import Before, Limit, newest_page
from api.resources import Db
from api.routers import PREFIX
from schemas.records import TRADE, ExecType, Execution
from sinks.record_tables import record_of
from sinks.tables import executions

router = APIRouter(prefix=f"{PREFIX}/executions", tags=["orders"])


class ExecutionOut(ExecutionReport):
    """An execution report with its order. `filled_at` is the time of the trade, None for other reports."""

    order_id: str
    symbol: str
    side: str
    filled_at: str | None
    cause_id: str


class ExecutionPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    executions: list[ExecutionOut]
    next: int | None


@router.get("")
def get_executions(
    db: Db,
    symbol: TextLine | None = None,
    type: Annotated[ExecType | None, Query(description="type of the report; TRADE is a fill")] = None,
    before: Before = None,
    limit: Limit = 100,
) -> ExecutionPage:
    """Execution reports, newest first, `limit` per page."""
    rows, next_before = newest_page(
        db, select(executions), executions, before=before, limit=limit, symbol=symbol, exec_type=type
    )
    return ExecutionPage(executions=[_execution_out(record_of(Execution, row)) for row in rows], next=next_before)


def _execution_out(report: Execution) -> ExecutionOut:
    return ExecutionOut(
        **report_fields(report),
        order_id=report.order_id,
        symbol=report.symbol,
        side=report.side,
        filled_at=utc(report.filled_at_ns) if report.exec_type == TRADE else None,
        cause_id=report.cause_id,
    )
