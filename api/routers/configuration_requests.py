"""Requests for a change of the configuration that wait for a second person, with `risk_manager.approvals`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.access import Configurer, Reader
from api.approval_requests import ApprovalRequest, Rejection, RejectionReceipt, submit_rejection
from api.configuration_changes import approve_change, require_not_applied
from api.json_types import ApiModel, utc
from api.problems import problem_responses
from api.release_approvals import pending_requests, rejection_of, request_to_approve
from api.resources import PrimaryDb, ResourcesDep
from api.routers import PREFIX
from configs.configuration_requests import read_request

router = APIRouter(
    prefix=f"{PREFIX}/config/requests",
    tags=["configuration"],
    responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503),
)


class ConfigurationRequestOut(ApprovalRequest):
    """A change that waits for approval. `before` has the value of each setting when it was requested, null for none."""

    set: dict[str, Any]
    unset: list[str]
    before: dict[str, Any]


class ConfigurationApproval(ApiModel):
    """The configuration is in the log, and every service applies it from the next time slice on."""

    configuration_id: str
    request_id: str
    requested_by: str
    approved_by: str
    submitted_at: str


@router.get("")
def get_configuration_requests(caller: Reader, db: PrimaryDb) -> list[ConfigurationRequestOut]:
    """Requests of the last hour that can be approved, newest first."""
    requests = map(read_request, pending_requests(db, configuration=True))
    return [
        ConfigurationRequestOut(
            request_id=request.request_id,
            requested_by=request.requested_by,
            requested_at=utc(request.ts_ns),
            reason=request.reason,
            set=request.set,
            unset=request.unset,
            before=request.before,
        )
        for request in requests
    ]


@router.post("/{request_id}/approve", status_code=202)
def approve_configuration_request(
    request_id: str,
    caller: Configurer,
    db: PrimaryDb,
    resources: ResourcesDep,
) -> ConfigurationApproval:
    """Approve a change that another user requested, and apply it on top of the settings in force.

    403 for your own request, 409 if it has expired or is closed, 400 if a setting has changed since the request or the
    change is no longer valid.
    """
    request = read_request(request_to_approve(db, request_id, caller.username, configuration=True))
    record = approve_change(resources, request, caller.username)
    return ConfigurationApproval(
        configuration_id=record.configuration_id,
        request_id=request_id,
        requested_by=record.requested_by,
        approved_by=record.actor,
        submitted_at=utc(record.ts_ns),
    )


@router.post("/{request_id}/reject", status_code=202)
def reject_configuration_request(
    request_id: str,
    body: Rejection,
    caller: Configurer,
    db: PrimaryDb,
    resources: ResourcesDep,
) -> RejectionReceipt:
    """Reject a change, or withdraw your own. 409 if it was approved or rejected before."""
    rejection = rejection_of(db, request_id, caller.username, body.reason, configuration=True)
    require_not_applied(resources.settings, request_id)
    return submit_rejection(resources, rejection)
