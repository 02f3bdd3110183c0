"""Open and resolved alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.access import Reader
from api.alerting.outbox import read_alerts
from api.json_types import ApiModel
from api.problems import problem_responses
from api.resources import Db
from api.routers import PREFIX

router = APIRouter(
    prefix=f"{PREFIX}/alerts", tags=["alerts"], responses=problem_responses(400, 401, 403, 422, 429, 503)
)


class Alert(ApiModel):
    """`key` is the name of the alert and its subject. `messages_sent` and `messages_waiting` count the messages about
    the alert over all channels. Times are wall-clock times.
    """

    alert_id: str
    key: str
    name: str
    severity: str
    state: str  # open or resolved
    summary: str
    value: float
    threshold: float
    opened_at: str
    resolved_at: str | None
    messages_sent: int
    messages_waiting: int


@router.get("")
def get_alerts(
    caller: Reader,
    db: Db,
    include_resolved: bool = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[Alert]:
    """Open alerts, newest first. With `include_resolved`, the resolved alerts follow."""
    return [_alert_out(dict(row)) for row in read_alerts(db, include_resolved=include_resolved, limit=limit)]


def _alert_out(row: dict[str, Any]) -> Alert:
    resolved: datetime | None = row.pop("resolved_at")
    return Alert(
        state="open" if resolved is None else "resolved",
        opened_at=_utc(row.pop("opened_at")),
        resolved_at=None if resolved is None else _utc(resolved),
        messages_sent=row.pop("told"),
        messages_waiting=row.pop("untold"),
        **row,
    )


def _utc(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
