"""What all requests for a second person's approval have in common: their fields, and their rejection."""

from __future__ import annotations

from api.json_types import ApiModel, TextLine, utc
from api.resources import Resources
from api.submissions import submit
from operators.approvals import REQUEST_REJECTED, REQUESTED_BY
from schemas.records import Command


class ApprovalRequest(ApiModel):
    """A request that waits for a second person."""

    request_id: str
    requested_by: str
    requested_at: str
    reason: str


class Rejection(ApiModel):
    """`reason` is stored with the rejection."""

    reason: TextLine


class RejectionReceipt(ApiModel):
    """The rejection is stored in the log. The request can no longer be approved."""

    command_id: str
    requested_by: str
    rejected_by: str
    submitted_at: str


def submit_rejection(resources: Resources, rejection: Command) -> RejectionReceipt:
    """Store and publish the rejection of a request."""
    command = submit(
        resources, REQUEST_REJECTED, actor=rejection.actor, reason=rejection.reason, arguments=rejection.arguments
    )
    return RejectionReceipt(
        command_id=command.command_id,
        requested_by=command.arguments[REQUESTED_BY],
        rejected_by=command.actor,
        submitted_at=utc(command.ts_ns),
    )
