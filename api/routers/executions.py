"""What the venue reported, over all orders: fills, and the ends of orders."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from sqlalchemy import desc, select

from api.resources import Db
from api.routers import PREFIX
from api.routers.orders import Report
from api.shapes import MAX_SEQ, Line, Shape, utc
from schemas.records import Execution
from sinks.tables import executions, record_of

PAGE_MAX = 500

router = APIRouter(prefix=f"{PREFIX}/executions", tags=["orders"])

Kind = Literal["NEW", "TRADE", "CANCELED", "EXPIRED", "REJECTED", "REPLACED"]


class ExecutionShown(Report):
    """A report with the order that it is about. `filled_at` is when the venue traded, None for other reports."""

    order_id: str
    symbol: str
    side: str
    filled_at: str | None
    cause_id: str


class ExecutionPage(Shape):
    """Newest first. `next` is the value of `before` for the next page, None on the last one."""

    executions: list[ExecutionShown]
    next: int | None


@router.get("")
def get_executions(
    db: Db,
    symbol: Line | None = None,
    type: Annotated[Kind | None, Query(description="TRADE for fills")] = None,
    before: Annotated[int | None, Query(ge=1, le=MAX_SEQ, description="only executions with a lower seq")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> ExecutionPage:
    """Executions, newest first, `limit` at a time."""
    query = select(executions).order_by(desc(executions.c.seq)).limit(limit + 1)
    if symbol is not None:
        query = query.where(executions.c.symbol == symbol)
    if type is not None:
        query = query.where(executions.c.exec_type == type)
    if before is not None:
        query = query.where(executions.c.seq < before)
    found = [record_of(Execution, row) for row in db.execute(query).mappings()]
    page = found[:limit]
    return ExecutionPage(
        executions=[_shown(report) for report in page], next=page[-1].seq if len(found) > limit else None
    )


def _shown(report: Execution) -> ExecutionShown:
    return ExecutionShown(
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
