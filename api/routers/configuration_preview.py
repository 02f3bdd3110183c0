"""Preview a change of the configuration: what would have differed under the changed settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import ConfigDict
from sqlalchemy import Connection

from api.access import Configurer
from api.json_types import Amount, ApiModel, nanoseconds, utc
from api.preview_process import DAY_NS, newest_ns, run_preview
from api.problems import problem_responses
from api.resources import ResourcesDep
from api.routers import PREFIX
from api.routers.configuration import SettingChanges, require_configuration

TIME_LIMIT_S = 120.0

router = APIRouter(
    prefix=f"{PREFIX}/config/preview",
    tags=["configuration"],
    responses=problem_responses(400, 401, 403, 409, 422, 429, 503),
)


class PreviewRequest(SettingChanges):
    """The changes of `PATCH /config`, which are not applied. `since` is an event time, by default one day before the
    last time slice.
    """

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"set": {"risk_manager.max_order_notional": 5000}}}
    )

    since: datetime | None = None


class PreviewSide(ApiModel):
    """One side from `since` on. Money is in account currency, `equity` and `unrealized_pnl` are as of the end.

    `rejections` counts the orders that risk rejected, by check.
    """

    orders: int
    rejections: dict[str, int]
    fills: int
    traded_quantity: Amount
    realized_pnl: Amount
    unrealized_pnl: Amount
    fees: Amount
    equity: Amount
    max_drawdown: Amount


class PreviewDifference(ApiModel):
    """Orders and rejections of one time slice that only one side has, as text."""

    timestamp: str
    recorded: list[str]
    changed: list[str]


class ConfigurationPreview(ApiModel):
    """`recorded` is what happened, `changed` what would have happened with the changed settings since `since`.

    `differences` are the first of `differing_time_slices`. `configurations` counts the configurations that came into
    force within the period: `changed` uses the changed settings for all of it. `from_checkpoint` is the checkpoint from
    which the replay started, empty if it started with the recording.
    """

    since: str
    until: str
    time_slices: int
    configurations: int
    from_checkpoint: str
    recorded: PreviewSide
    changed: PreviewSide
    differing_time_slices: int
    differences: list[PreviewDifference]


@router.post("")
def preview_configuration(
    body: PreviewRequest,
    caller: Configurer,
    resources: ResourcesDep,
) -> ConfigurationPreview:
    """Replay the recording with changed settings, and compare the decisions. Nothing changes.

    409 while another preview runs on the host. 503 if the preview does not finish within 120 seconds.
    """
    changes = body.changes()
    with resources.engine.connect() as db:  # closed before the preview, which takes long
        require_configuration(db)
        since_ns = _since_ns(db, body.since)
    result = run_preview(
        resources.settings,
        changes,
        since_ns,
        home=resources.home,
        time_limit_s=TIME_LIMIT_S,
    )
    return as_preview(result)


def as_preview(result: dict[str, Any]) -> ConfigurationPreview:
    """Return the response for the result of the process."""
    differences = [
        {"timestamp": utc(one["ts_ns"]), "recorded": one["recorded"], "changed": one["changed"]}
        for one in result["differences"]
    ]
    times = {"since": utc(result["since_ns"]), "until": utc(result["until_ns"]), "differences": differences}
    replaced = ("since_ns", "until_ns", "differences", "skipped")
    rest = {name: value for name, value in result.items() if name not in replaced}
    return ConfigurationPreview.model_validate({**rest, **times})


def _since_ns(db: Connection, since: datetime | None) -> int:
    if since is not None:
        return nanoseconds("since", since)
    return newest_ns(db) - DAY_NS
