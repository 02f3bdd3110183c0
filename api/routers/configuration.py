"""The settings in force, their history, and changes at run time."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field, JsonValue
from sqlalchemy import Connection, desc, select

from api.access import Caller, Reader, caller_with
from api.json_types import ApiModel, TextLine, utc
from api.pagination import Limit
from api.problems import Conflict, problem_responses
from api.resources import Db, PrimaryDb, ResourcesDep
from api.roles import Permission
from api.routers import PREFIX
from configs.configuration_changes import require_live
from configs.configuration_publishing import newest_of, prepare_change, publish_change
from configs.recorded_settings import canonical_json
from schemas.records import Configuration
from sinks.record_tables import record_of
from sinks.signing_keys import FOLDER
from sinks.tables import configurations

router = APIRouter(
    prefix=f"{PREFIX}/config",
    tags=["configuration"],
    responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503),
)
SettingName = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]


class ConfigurationOut(ApiModel):
    """One configuration. `overrides` are the changes at run time, by setting, on top of the settings file."""

    configuration_id: str
    timestamp: str
    actor: str
    reason: str
    release: str
    sha256: str
    overrides: dict[str, Any]
    source_sha256: dict[str, str]


class ConfigurationInForce(ConfigurationOut):
    """The newest configuration, with all settings. Services apply a new one from the next time slice on."""

    settings: dict[str, Any]


class ConfigurationPatch(ApiModel):
    """Settings to change, by dotted name (`set`), and changes to end, so that the settings file applies again
    (`unset`).
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"set": {"risk_manager.max_order_notional": 5000}, "reason": "earnings this evening"}
        },
    )

    set: dict[SettingName, JsonValue] = Field(default_factory=dict, max_length=100)
    unset: Annotated[list[SettingName], Field(max_length=100)] = Field(default_factory=list)
    reason: TextLine


class ConfigurationReceipt(ApiModel):
    """PENDING: the configuration is in the log, and every service applies it from the next time slice on. UNCHANGED:
    the settings in force already equal those of the request, for example after a repeated request.
    """

    configuration_id: str
    status: Literal["PENDING", "UNCHANGED"]
    submitted_at: str


@router.get("")
def get_configuration(caller: Reader, db: Db) -> ConfigurationInForce:
    """The settings in force, without secrets and addresses. 409 before the first start of this release."""
    newest = _newest(db)
    return ConfigurationInForce(**_fields(newest), settings=json.loads(newest.settings))


@router.get("/history")
def get_history(caller: Reader, db: Db, limit: Limit = 100) -> list[ConfigurationOut]:
    """The configurations, newest first."""
    return [ConfigurationOut(**_fields(one)) for one in _stored(db, limit)]


@router.patch("", status_code=202)
def change_configuration(
    body: ConfigurationPatch,
    caller: Annotated[Caller, Depends(caller_with(Permission.CONFIGURE, "command"))],
    db: PrimaryDb,
    resources: ResourcesDep,
) -> ConfigurationReceipt:
    """Change settings from the next time slice on. A repeated request changes nothing.

    400: an unknown setting, an invalid value, or a setting that takes effect only at a restart; nothing changes. 409:
    another change was made at the same time.
    """
    changes: dict[str, str | None] = {name: canonical_json(value) for name, value in body.set.items()}
    changes |= dict.fromkeys(body.unset)
    for setting in changes:
        require_live(setting)
    last = _newest(db)
    settings = resources.settings
    prepare_change(settings, last, changes, actor=caller.username, reason=body.reason)
    # Prepared again on top of the newest configuration in the log, which risk may not have stored yet.
    change = prepare_change(settings, newest_of(settings), changes, actor=caller.username, reason=body.reason)
    record = publish_change(change, settings, resources.home / "secrets" / FOLDER, resources.command_log)
    if change.record is not None and record.sha256 != change.record.sha256:
        raise Conflict(f"{record.actor} changed the settings at the same time: {record.reason}. Try again.")
    return ConfigurationReceipt(
        configuration_id=record.configuration_id,
        status="UNCHANGED" if change.record is None else "PENDING",
        submitted_at=utc(record.ts_ns),
    )


def _stored(db: Connection, limit: int) -> list[Configuration]:
    rows = db.execute(select(configurations).order_by(desc(configurations.c.number)).limit(limit)).mappings()
    return [record_of(Configuration, row) for row in rows]


def _newest(db: Connection) -> Configuration:
    """Raises Conflict if risk has stored none."""
    stored = _stored(db, 1)
    if not stored:
        raise Conflict("No configuration is stored yet. Try again after the first time slice that follows the start.")
    return stored[0]


def _fields(configuration: Configuration) -> dict[str, Any]:
    return {
        "configuration_id": configuration.configuration_id,
        "timestamp": utc(configuration.ts_ns),
        "actor": configuration.actor,
        "reason": configuration.reason,
        "release": configuration.release,
        "sha256": configuration.sha256,
        "overrides": {name: json.loads(text) for name, text in configuration.overrides.items()},
        "source_sha256": dict(configuration.source_sha256),
    }
