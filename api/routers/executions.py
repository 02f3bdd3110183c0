"""What the venue reported, over all orders: fills, and the ends of orders."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from sqlalchemy import select

from api.json_types import ApiModel, TextLine, utc
from api.pagination import Before, Limit, newest_page
from api.resources import Db
from api.routers import PREFIX
from api.routers.orders import ExecutionReport
from schemas.records import Execution
from sinks.tables import executions, record_of

router = APIRouter(prefix=f"{PREFIX}/executions", tags=["orders"])

Kind = Literal["NEW", "TRADE", "CANCELED", "EXPIRED", "REJECTED", "REPLACED"]


class ExecutionOut(ExecutionReport):
    """A report with the order that it is about. `filled_at` is when the venue traded, None for other reports."""

    order_id: str
    symbol: str
    side: str
    filled_at: str | None
    cause_id: str


class ExecutionPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, None on the last one."""

    executions: list[ExecutionOut]
    next: int | None


@router.get("")
def get_executions(
    db: Db,
    symbol: TextLine | None = None,
    type: Annotated[Kind | None, Query(description="TRADE for fills")] = None,
    before: Before = None,
    limit: Limit = 100,
) -> ExecutionPage:
    """Executions, newest first, `limit` at a time."""
    rows, next_before = newest_page(
        db, select(executions), executions, before=before, limit=limit, symbol=symbol, exec_type=type
    )
    return ExecutionPage(executions=[_execution_out(record_of(Execution, row)) for row in rows], next=next_before)


def _execution_out(report: Execution) -> ExecutionOut:
    return ExecutionOut(
        execution_id=report.execution_id,
        seq=report.seq,
        type=report.exec_type,
        quantity=report.quantity,
        price=report.price,
        fee=report.fee,
        leaves_quantity=report.leaves_quantity,
        timestamp=utc(report.ts_ns),
        text=report.text,
        order_id=report.order_id,
        symbol=report.symbol,
        side=report.side,
        filled_at=utc(report.filled_at_ns) if report.exec_type == "TRADE" else None,
        cause_id=report.cause_id,
    )
