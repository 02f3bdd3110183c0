"""Change the configuration for a caller: at once, or as a request where a second person must approve it.

With an idempotency key, the change is stored as a submission first. The configuration that applies it names the id of
the submission, so that a retry finds it, also after a crash between the two.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from api.problems import Conflict
from api.resources import Resources
from api.submissions import submit
from configs.configuration_publishing import (
    Changes,
    ConfigurationChange,
    Origin,
    configuration_of,
    is_published,
    needs_second_person,
    newest_of,
    prepare_change,
    publish_change,
)
from configs.configuration_requests import (
    ConfigurationRequest,
    prepare_approved,
    read_request,
    request_arguments,
)
from configs.settings import Settings
from operators.approvals import CONFIGURE, RELEASE_REQUESTED
from schemas.records import Command, Configuration
from sinks.accounts import command_of, submissions
from sinks.commands import new_command
from sinks.signing_keys import FOLDER


class ChangeResult(NamedTuple):
    """The outcome of a change: the configuration in the log, and whether it is new; or the request for it."""

    configuration_id: str
    ts_ns: int
    is_new: bool
    request_id: str = ""  # of a request that waits for a second person


def change_configuration(
    resources: Resources, changes: Changes, *, actor: str, reason: str, idempotency_key: str | None
) -> ChangeResult:
    """Publish a change, or the request for it where a second person must approve it.

    Raises BadInput for an invalid change, Conflict if a concurrent change was written first or the key was used for
    another change, and Unavailable.
    """
    if idempotency_key is not None:
        with resources.engine.connect() as db:
            stored = _submission_of(db, actor, idempotency_key)
        if stored is not None:
            return _retry(resources, *stored, changes, reason, idempotency_key)
    settings, last = resources.settings, newest_of(resources.settings)
    change = prepare_change(settings, last, changes, Origin(actor, reason))
    arguments = request_arguments(last, changes)
    if change.record is not None and needs_second_person(last):
        return _request(resources, arguments, actor, reason, idempotency_key)
    if idempotency_key is None:
        return _publish(resources, change)
    candidate = new_command(RELEASE_REQUESTED, actor=actor, reason=reason, arguments=arguments)._replace(kind=CONFIGURE)
    command = _store(resources, candidate, idempotency_key)
    return _retry(resources, command, False, changes, reason, idempotency_key)


def approve_change(resources: Resources, request: ConfigurationRequest, approver: str) -> Configuration:
    """Apply a request on top of the configuration in force.

    Raises Conflict if it was applied already, or if a concurrent change was written first, and BadInput if it is no
    longer valid.
    """
    settings, last = resources.settings, newest_of(resources.settings)
    # Read after `last`: whatever is written later has the number of this change, which then does not count.
    require_not_applied(settings, request.request_id)
    change = prepare_approved(settings, last, request, approver)
    if change.record is None:
        raise Conflict(f"The request {request.request_id} changes nothing any more. Reject it.")
    record = _published(resources, change)
    if record.actor != approver:
        raise Conflict(f"The request {request.request_id} is closed: {record.actor} has approved it.")
    return record


def require_not_applied(settings: Settings, request_id: str) -> None:
    """Raises Conflict if a configuration in the log applied the request. Risk may not have stored it yet."""
    applied = configuration_of(settings, request_id)
    if applied is not None:
        raise Conflict(f"The request {request_id} is closed: {applied.actor} has approved it.")


def _request(
    resources: Resources, arguments: dict[str, str], actor: str, reason: str, idempotency_key: str | None
) -> ChangeResult:
    command = submit(
        resources,
        RELEASE_REQUESTED,
        actor=actor,
        reason=reason,
        arguments=arguments,
        idempotency_key=idempotency_key,
    )
    return ChangeResult(arguments["configuration_id"], command.ts_ns, is_new=False, request_id=command.command_id)


def _retry(
    resources: Resources, command: Command, is_done: bool, changes: Changes, reason: str, idempotency_key: str
) -> ChangeResult:
    """Return the outcome of a stored submission. Complete it if an earlier attempt did not."""
    stored = read_request(command)
    if (stored.changes, stored.reason) != (dict(changes), reason):
        raise Conflict(f"The idempotency key {idempotency_key} was used for a different request. Use a new key.")
    if command.kind == RELEASE_REQUESTED:
        return _request(resources, command.arguments, command.actor, reason, idempotency_key)
    settings, last = resources.settings, newest_of(resources.settings)
    applied = configuration_of(settings, command.command_id)  # read after `last`, as in `approve_change`
    if applied is not None:
        return ChangeResult(applied.configuration_id, applied.ts_ns, is_new=True)
    unchanged = ChangeResult(command.arguments["configuration_id"], command.ts_ns, is_new=False)
    if is_done:
        return unchanged
    origin = Origin(command.actor, reason, request_id=command.command_id)
    change = prepare_change(settings, last, changes, origin)
    record = _published(resources, change)
    with resources.engine.begin() as db:
        same_command = submissions.c.command_id == command.command_id
        db.execute(update(submissions).where(same_command).values(acknowledged=True))
    if change.record is None:
        return unchanged
    return ChangeResult(record.configuration_id, record.ts_ns, is_new=True)


def _publish(resources: Resources, change: ConfigurationChange) -> ChangeResult:
    record = _published(resources, change)
    return ChangeResult(record.configuration_id, record.ts_ns, is_new=change.record is not None)


def _published(resources: Resources, change: ConfigurationChange) -> Configuration:
    """Publish a change and return its record. Raises Conflict if a concurrent change was written first."""
    record = publish_change(change, resources.settings, resources.home / "secrets" / FOLDER, resources.command_log)
    if not is_published(change, record):
        raise Conflict(f"{record.actor} changed the settings at the same time: {record.reason}. Try again.")
    return record


def _submission_of(db: Connection, actor: str, idempotency_key: str) -> tuple[Command, bool] | None:
    """Return the command stored under a key, and whether it was completed. Raises Conflict for another action."""
    same_key = (submissions.c.actor == actor, submissions.c.idempotency_key == idempotency_key)
    row = db.execute(select(submissions).where(*same_key)).mappings().first()
    if row is None:
        return None
    command = command_of(row)
    if command.arguments.get("kind") != CONFIGURE:
        raise Conflict(f"The idempotency key {idempotency_key} was used for a different request. Use a new key.")
    return command, bool(row["acknowledged"])


def _store(resources: Resources, candidate: Command, idempotency_key: str) -> Command:
    """Store a change under its key. Return the command that the key has afterwards, from a concurrent request too."""
    fields = {name: value for name, value in candidate._asdict().items() if name in submissions.c}
    row = {**fields, "idempotency_key": idempotency_key, "acknowledged": False}
    with resources.engine.begin() as db:
        db.execute(insert(submissions).values(row).on_conflict_do_nothing())
        stored = _submission_of(db, candidate.actor, idempotency_key)
    assert stored is not None, "the row was just written"
    return stored[0]
