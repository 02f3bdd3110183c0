"""Requests for a release that wait for a second person, from the table of commands (`operators/approvals.py`)."""

from __future__ import annotations

import time
from collections.abc import Collection

from sqlalchemy import Connection, select

from api.problems import Conflict, Forbidden, NotFound
from operators.approvals import (
    RELEASE_REQUESTED,
    REQUEST_ID,
    REQUESTED_BY,
    grants_approval,
    lacks_approval,
    person_of,
)
from operators.risk.commands import SET_BREAKER
from schemas.records import (
    ACCEPT_POSITION,
    ADJUSTMENT,
    CASH_TRANSFER,
    FLATTEN_STRATEGY,
    KILL_SWITCH,
    RELEASE,
    RESUME_STRATEGY,
    Command,
    CommandKind,
)
from sinks.accounts import command_of, submissions
from sinks.commands import new_command
from sinks.tables import commands

VALID_S = 3600
"""A request that nobody approves within this time expires."""
KIND = "kind"
"""The argument of a request that names the kind of the release; for a difference of cash, the kind of the transfer."""
_KINDS: dict[str, CommandKind] = {
    SET_BREAKER: SET_BREAKER,
    ACCEPT_POSITION: ACCEPT_POSITION,
    RESUME_STRATEGY: RESUME_STRATEGY,
    FLATTEN_STRATEGY: FLATTEN_STRATEGY,
    ADJUSTMENT: CASH_TRANSFER,
}


def or_request(command: Command, approvals: Collection[str]) -> Command:
    """Return the command, or the request for it if it needs the approval of a second person."""
    if not lacks_approval(command, approvals):
        return command
    # A transfer has its own kind among its arguments.
    arguments = {KIND: command.kind, **command.arguments}
    return new_command(RELEASE_REQUESTED, actor=command.actor, reason=command.reason, arguments=arguments)


def pending_requests(db: Connection) -> list[Command]:
    """Return the requests that can be approved, newest first."""
    commands_by_id = _recent_commands(db)
    requests = [command for command in commands_by_id.values() if command.kind == RELEASE_REQUESTED]
    return sorted(
        (request for request in requests if _obstacle(request, commands_by_id) is None),
        key=lambda request: request.ts_ns,
        reverse=True,
    )


def approval_of(db: Connection, request_id: str, approver: str) -> Command:
    """Return the release that the approver grants. It names both persons.

    Raises NotFound; Conflict if the request has expired, was approved, or a halt followed it; Forbidden if the approver
    is the requester.
    """
    commands_by_id = _recent_commands(db)
    request = commands_by_id.get(request_id)
    if request is None or request.kind != RELEASE_REQUESTED:
        raise NotFound(f"No request {request_id} for a release within the last {VALID_S // 60} minutes.")
    if person_of(request.actor) == person_of(approver):
        raise Forbidden("You requested this release. Another person must approve it.")
    obstacle = _obstacle(request, commands_by_id)
    if obstacle is not None:
        raise Conflict(f"The request {request_id} cannot be approved: {obstacle}. Request the release again.")
    kind = _KINDS.get(request.arguments[KIND], RELEASE)
    arguments = {name: value for name, value in request.arguments.items() if name != KIND or kind == CASH_TRANSFER}
    arguments |= {REQUEST_ID: request_id, REQUESTED_BY: request.actor}
    return new_command(kind, actor=approver, reason=request.reason, arguments=arguments)


def _recent_commands(db: Connection) -> dict[str, Command]:
    """Return the commands of the last `VALID_S` by id, also those that risk has not processed yet."""
    since_ns = time.time_ns() - VALID_S * 1_000_000_000
    command_by_id: dict[str, Command] = {}
    for table in (submissions, commands):
        for row in db.execute(select(table).where(table.c.ts_ns >= since_ns)).mappings():
            command_by_id[row["command_id"]] = command_of(row)
    return command_by_id


def _obstacle(request: Command, commands_by_id: dict[str, Command]) -> str | None:
    is_acceptance = request.arguments.get(KIND) in (ACCEPT_POSITION, ADJUSTMENT)
    for command in commands_by_id.values():
        if grants_approval(command) and command.arguments.get(REQUEST_ID) == request.command_id:
            return f"{command.actor} has approved it"
        if command.kind == KILL_SWITCH and command.ts_ns > request.ts_ns and not is_acceptance:
            return f"{command.actor} has halted trading after it"
    return None
