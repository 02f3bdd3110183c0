"""What people were told about: the alerts that are open, and those that were."""

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
    """`key` is the alert and what it is about. `messages_sent` and `messages_waiting` are those about it, to all
    channels. Times are the wall's.
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
    """Open alerts, newest first; with `include_resolved` behind them those that are over."""
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
