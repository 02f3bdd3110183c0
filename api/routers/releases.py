"""Requests that wait for a second person, with `risk_manager.approvals`: releases, positions and cash to take over.

Requests for a change of the configuration are in `api/routers/configuration_requests.py`.
"""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter

from api.access import Reader, RiskOfficer
from api.approval_requests import ApprovalRequest, Rejection, RejectionReceipt, submit_rejection
from api.host_halt import clear_flag, publish_missing_halt
from api.json_types import ApiModel, utc
from api.problems import problem_responses
from api.release_approvals import approval_of, pending_requests, rejection_of
from api.resources import PrimaryDb, ResourcesDep
from api.routers import PREFIX
from api.submissions import submit
from operators.approvals import REQUESTED_BY
from schemas.records import CommandKind

router = APIRouter(
    prefix=f"{PREFIX}/risk/releases",
    tags=["risk"],
    responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503),
)


class ReleaseRequest(ApprovalRequest):
    """`arguments` has `kind` (RELEASE, SET_BREAKER, ACCEPT_POSITION, or ADJUSTMENT for cash), and for a breaker its
    measure, scope, key and new state, for a position its symbol, both quantities and the price, for cash the amount.
    """

    arguments: dict[str, str]


class ApprovalReceipt(ApiModel):
    """The release is stored in the log and takes effect in the next time slice."""

    command_id: str
    requested_by: str
    approved_by: str
    submitted_at: str


@router.get("")
def get_requests(caller: Reader, db: PrimaryDb) -> list[ReleaseRequest]:
    """Requests of the last hour that can be approved, newest first."""
    return [
        ReleaseRequest(
            request_id=request.command_id,
            requested_by=request.actor,
            requested_at=utc(request.ts_ns),
            reason=request.reason,
            arguments=dict(request.arguments),
        )
        for request in pending_requests(db)
    ]


@router.post("/{request_id}/approve", status_code=202)
def approve_request(
    request_id: str,
    caller: RiskOfficer,
    db: PrimaryDb,
    resources: ResourcesDep,
) -> ApprovalReceipt:
    """Approve a request of another user. 403 for your own request, 409 if it has expired or a halt followed it."""
    caller.require_verified()
    release = approval_of(db, request_id, caller.username)
    publish_missing_halt(resources, release)
    kind = cast("CommandKind", release.kind)  # one of those that `approval_of` returns
    command = submit(resources, kind, actor=release.actor, reason=release.reason, arguments=release.arguments)
    clear_flag(resources, release)
    return ApprovalReceipt(
        command_id=command.command_id,
        requested_by=command.arguments[REQUESTED_BY],
        approved_by=command.actor,
        submitted_at=utc(command.ts_ns),
    )


@router.post("/{request_id}/reject", status_code=202)
def reject_request(
    request_id: str,
    body: Rejection,
    caller: RiskOfficer,
    db: PrimaryDb,
    resources: ResourcesDep,
) -> RejectionReceipt:
    """Reject a request, or withdraw your own. 409 if it was approved or rejected before."""
    return submit_rejection(resources, rejection_of(db, request_id, caller.username, body.reason))
