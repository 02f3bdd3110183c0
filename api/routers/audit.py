"""Audit log: every command and its outcomes, newest first."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlalchemy import Row, case, literal, select, union_all

from api.access import Caller, caller_with
from api.json_types import ApiModel, TextLine, utc
from api.pagination import BeforeEntry, Limit, newest_external_page
from api.problems import problem_responses
from api.resources import Db
from api.roles import Permission
from api.routers import PREFIX
from operators.adjustments import adjustment_order_id
from schemas.records import TRADE
from sinks.tables import (
    cash_transfers,
    commands,
    configurations,
    executions,
    order_cancels,
    order_refusals,
    orders,
    risk_fences,
)

router = APIRouter(prefix=f"{PREFIX}/audit", tags=["audit"], responses=problem_responses(401, 403, 422, 429, 503))


class AuditEntry(ApiModel):
    """`outcomes` are the records that the command caused: "order ord-cmd-7f", "rejected cash: …", "cancel of ord-7",
    "adjustment adj-7", "adjustment not booked: …", "cash transfer transfer-3", "configuration config-4" or the new
    state of trading, such as "HALTED".
    """

    command_id: str
    timestamp: str
    kind: str
    actor: str
    reason: str
    arguments: dict[str, str]
    outcomes: list[str]


class AuditPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    commands: list[AuditEntry]
    next: str | None


@router.get("")
def get_audit(
    caller: Annotated[Caller, Depends(caller_with(Permission.AUDIT))],
    db: Db,
    actor: TextLine | None = None,
    kind: TextLine | None = None,
    before: BeforeEntry = None,
    limit: Limit = 100,
) -> AuditPage:
    """Commands that risk processed, by the time at which they were submitted.

    `before` can also be a time alone, in ns since 1970, as in earlier releases.
    """
    if before is not None and before.isdecimal():
        before = f"{before}:"  # no id is lower than an empty one
    page, following = newest_external_page(
        db, select(commands), commands, before=before, limit=limit, actor=actor, kind=kind
    )
    outcomes: dict[str, list[str]] = {row["command_id"]: [] for row in page}
    for outcome in _outcomes(db, list(outcomes)):
        outcomes[outcome.cause_id].append(outcome.outcome)
    entries = [
        AuditEntry(
            timestamp=utc(row["ts_ns"]),
            outcomes=outcomes[row["command_id"]],
            **{name: row[name] for name in ("command_id", "kind", "actor", "reason", "arguments")},
        )
        for row in page
    ]
    return AuditPage(commands=entries, next=following)


def _outcomes(db: Db, causes: list[str]) -> list[Row[Any]]:
    queries = [
        select(orders.c.cause_id, (literal("order ") + orders.c.order_id).label("outcome")),
        select(order_refusals.c.cause_id, literal("rejected ") + order_refusals.c.message),
        select(order_cancels.c.cause_id, literal("cancel of ") + order_cancels.c.order_id),
        select(risk_fences.c.cause_id, risk_fences.c.state),
        select(
            executions.c.cause_id,
            case(
                (executions.c.exec_type == TRADE, literal("adjustment ") + executions.c.execution_id),
                else_=executions.c.text,
            ),
        ).where(executions.c.order_id.in_([adjustment_order_id(cause) for cause in causes])),
        select(cash_transfers.c.cause_id, literal("cash transfer ") + cash_transfers.c.transfer_id),
        select(configurations.c.request_id, literal("configuration ") + configurations.c.configuration_id),
    ]
    return list(db.execute(union_all(*(query.where(query.selected_columns[0].in_(causes)) for query in queries))).all())
