"""The settings in force, their history, and changes at run time."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field, JsonValue
from sqlalchemy import Connection, desc, select

from api.access import Configurer, Reader
from api.configuration_changes import change_configuration as submit_change
from api.json_types import ApiModel, TextLine, utc
from api.pagination import Limit
from api.problems import Conflict, problem_responses
from api.resources import Db, PrimaryDb, ResourcesDep
from api.routers import PREFIX
from api.routers.order_entry import IdempotencyKey
from configs.configuration_changes import require_live
from configs.recorded_settings import canonical_json
from schemas.errors import BadInput
from schemas.records import Configuration
from sinks.record_tables import record_of
from sinks.tables import configurations

router = APIRouter(
    prefix=f"{PREFIX}/config",
    tags=["configuration"],
    responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503),
)
SettingName = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]


class ConfigurationOut(ApiModel):
    """One configuration. `overrides` are the changes at run time, by setting, on top of the settings file.

    If a second person approved the change, `actor` is the approver and `requested_by` the requester. `dropped` are the
    overrides that a start dropped because the changed settings file made them invalid: the reason by setting.
    """

    configuration_id: str
    timestamp: str
    actor: str
    requested_by: str | None
    request_id: str | None
    reason: str
    release: str
    sha256: str
    overrides: dict[str, Any]
    source_sha256: dict[str, str]
    dropped: dict[str, str]


class ConfigurationInForce(ConfigurationOut):
    """The newest configuration, with all settings. Services apply a new one from the next time slice on."""

    settings: dict[str, Any]


class SettingChanges(ApiModel):
    """Settings to change, by dotted name (`set`), and changes to end, so that the settings file applies again
    (`unset`).
    """

    set: dict[SettingName, JsonValue] = Field(default_factory=dict, max_length=100)
    unset: Annotated[list[SettingName], Field(max_length=100)] = Field(default_factory=list)

    def changes(self) -> dict[str, str | None]:
        """Return the changes as JSON by setting, None to end one. Raises BadInput if a setting cannot change.

        A change of an earlier release can end, also of a setting that cannot change any more.
        """
        if both := sorted(self.set.keys() & set(self.unset)):
            raise BadInput(f"the request sets and unsets {', '.join(both)}: name each setting once")
        changes: dict[str, str | None] = {name: canonical_json(value) for name, value in self.set.items()}
        changes |= dict.fromkeys(self.unset)
        if not changes:
            raise BadInput("the request changes nothing: name settings in `set` or `unset`")
        for setting in self.set:
            require_live(setting)
        return changes


class ConfigurationPatch(SettingChanges):
    """Changes of settings, and the reason for them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"set": {"risk_manager.max_order_notional": 5000}, "reason": "earnings this evening"}
        },
    )

    reason: TextLine


class ConfigurationReceipt(ApiModel):
    """PENDING: the configuration is in the log, and every service applies it from the next time slice on. UNCHANGED:
    the settings in force already equal those of the request, for example after a repeated request. APPROVAL_REQUIRED:
    another user must approve `request_id` with `POST /config/requests/{request_id}/approve`, and `configuration_id` is
    the configuration in force.
    """

    configuration_id: str
    status: Literal["PENDING", "UNCHANGED", "APPROVAL_REQUIRED"]
    submitted_at: str
    request_id: str | None = None


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
    caller: Configurer,
    db: PrimaryDb,
    resources: ResourcesDep,
    idempotency_key: IdempotencyKey = None,
) -> ConfigurationReceipt:
    """Change settings from the next time slice on. A retry with the same `Idempotency-Key` changes them once.

    With `risk_manager.approvals`, another user must approve the change. 400: an unknown setting, an invalid value, or a
    setting that takes effect only at a restart; nothing changes. 409: another change was made at the same time, or the
    key was used for another change.
    """
    changes = body.changes()
    require_configuration(db)
    result = submit_change(
        resources, changes, actor=caller.username, reason=body.reason, idempotency_key=idempotency_key
    )
    return ConfigurationReceipt(
        configuration_id=result.configuration_id,
        status="APPROVAL_REQUIRED" if result.request_id else "PENDING" if result.is_new else "UNCHANGED",
        submitted_at=utc(result.ts_ns),
        request_id=result.request_id or None,
    )


def _stored(db: Connection, limit: int) -> list[Configuration]:
    rows = db.execute(select(configurations).order_by(desc(configurations.c.number)).limit(limit)).mappings()
    return [record_of(Configuration, row) for row in rows]


def require_configuration(db: Connection) -> None:
    """Raises Conflict if risk has stored no configuration, as before the first start of this release."""
    _newest(db)


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
        "requested_by": configuration.requested_by or None,
        "request_id": configuration.request_id or None,
        "reason": configuration.reason,
        "release": configuration.release,
        "sha256": configuration.sha256,
        "overrides": {name: json.loads(text) for name, text in configuration.overrides.items()},
        "source_sha256": dict(configuration.source_sha256),
        "dropped": dict(configuration.dropped),
    }
