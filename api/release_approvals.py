"""Requests that wait for a second person, from the table of commands (`operators/approvals.py`).

A request is for a release, or of the kind CONFIGURE for a change of the configuration.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, select

from api.problems import Conflict, Forbidden, NotFound
from operators.approvals import (
    CONFIGURE,
    RELEASE_REQUESTED,
    REQUEST_ID,
    REQUEST_REJECTED,
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
from sinks.tables import commands, configurations

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
_OUTLAST_A_HALT = (ACCEPT_POSITION, ADJUSTMENT, CONFIGURE)
"""Kinds that do not resume trading, so that a halt after the request does not void it."""


def or_request(command: Command, approvals: Collection[str]) -> Command:
    """Return the command, or the request for it if it needs the approval of a second person."""
    if not lacks_approval(command, approvals):
        return command
    # A transfer has its own kind among its arguments.
    arguments = {KIND: command.kind, **command.arguments}
    return new_command(RELEASE_REQUESTED, actor=command.actor, reason=command.reason, arguments=arguments)


def pending_requests(db: Connection, *, configuration: bool = False) -> list[Command]:
    """Return the requests that can be approved, newest first: for releases, or for changes of the configuration."""
    history = _recent_history(db)
    requests = [command for command in history.commands.values() if _is_request(command, configuration)]
    return sorted(
        (request for request in requests if _obstacle(request, history) is None),
        key=lambda request: request.ts_ns,
        reverse=True,
    )


def request_to_approve(db: Connection, request_id: str, approver: str, *, configuration: bool = False) -> Command:
    """Return a request that the approver may approve.

    Raises NotFound; Conflict if the request has expired, was approved or rejected, or a halt followed it; Forbidden if
    the approver is the requester.
    """
    history = _recent_history(db)
    request = _find_request(history, request_id, configuration)
    if person_of(request.actor) == person_of(approver):
        what = "change" if configuration else "release"
        raise Forbidden(f"You requested this {what}. Another person must approve it.")
    _require_open(request, history)
    return request


def approval_of(db: Connection, request_id: str, approver: str) -> Command:
    """Return the release that the approver grants. It names both persons. Raises as `request_to_approve` does."""
    request = request_to_approve(db, request_id, approver)
    kind = _KINDS.get(request.arguments[KIND], RELEASE)
    arguments = {name: value for name, value in request.arguments.items() if name != KIND or kind == CASH_TRANSFER}
    arguments |= {REQUEST_ID: request_id, REQUESTED_BY: request.actor}
    return new_command(kind, actor=approver, reason=request.reason, arguments=arguments)


def rejection_of(db: Connection, request_id: str, actor: str, reason: str, *, configuration: bool = False) -> Command:
    """Return the command that rejects a request. The requester may reject it too, to withdraw it.

    Raises NotFound, and Conflict if the request is no longer open.
    """
    history = _recent_history(db)
    request = _find_request(history, request_id, configuration)
    _require_open(request, history)
    arguments = {REQUEST_ID: request_id, REQUESTED_BY: request.actor}
    return new_command(REQUEST_REJECTED, actor=actor, reason=reason, arguments=arguments)


class _History(NamedTuple):
    """The commands of the last `VALID_S` by id, and who approved a change of the configuration, by request."""

    commands: dict[str, Command]
    configured: dict[str, str]


def _recent_history(db: Connection) -> _History:
    """Return what the tables hold, also commands that risk has not processed yet."""
    since_ns = time.time_ns() - VALID_S * 1_000_000_000
    command_by_id: dict[str, Command] = {}
    for table in (submissions, commands):
        for row in db.execute(select(table).where(table.c.ts_ns >= since_ns)).mappings():
            command_by_id[row["command_id"]] = command_of(row)
    query = select(configurations.c.request_id, configurations.c.actor)
    is_recent = (configurations.c.ts_ns >= since_ns) & (configurations.c.request_id != "")
    return _History(command_by_id, {row.request_id: row.actor for row in db.execute(query.where(is_recent))})


def _is_request(command: Command, configuration: bool) -> bool:
    return command.kind == RELEASE_REQUESTED and (command.arguments.get(KIND) == CONFIGURE) == configuration


def _find_request(history: _History, request_id: str, configuration: bool) -> Command:
    request = history.commands.get(request_id)
    if request is None or not _is_request(request, configuration):
        what = "a change of the configuration" if configuration else "a release"
        raise NotFound(f"No request {request_id} for {what} within the last {VALID_S // 60} minutes.")
    return request


def _require_open(request: Command, history: _History) -> None:
    obstacle = _obstacle(request, history)
    if obstacle is not None:
        what = "change" if request.arguments.get(KIND) == CONFIGURE else "release"
        raise Conflict(f"The request {request.command_id} is closed: {obstacle}. Request the {what} again.")


def _obstacle(request: Command, history: _History) -> str | None:
    """Return why a request can no longer be approved, None if it can."""
    approver = history.configured.get(request.command_id)
    if approver is not None:
        return f"{approver} has approved it"
    outlasts_a_halt = request.arguments.get(KIND) in _OUTLAST_A_HALT
    for command in history.commands.values():
        is_answer = command.arguments.get(REQUEST_ID) == request.command_id
        if is_answer and grants_approval(command):
            return f"{command.actor} has approved it"
        if is_answer and command.kind == REQUEST_REJECTED:
            return f"{command.actor} has rejected it: {command.reason}"
        if command.kind == KILL_SWITCH and command.ts_ns > request.ts_ns and not outlasts_a_halt:
            return f"{command.actor} has halted trading after it"
    return None
