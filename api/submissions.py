"""Send a caller's command to the topic `commands`. The command is stored first, so that a retry sends the same one.

The stages ignore a command id that they have already processed (`operators/risk`), so a retry after a lost response
has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects.postgresql import insert

from api.problems import Conflict
from api.resources import Resources
from schemas.records import Command, CommandKind
from sinks.accounts import command_of, submissions
from sinks.commands import new_command
from sinks.tables import commands


def submit(
    resources: Resources,
    kind: CommandKind,
    *,
    actor: str,
    reason: str,
    arguments: Mapping[str, str],
    idempotency_key: str | None = None,
) -> Command:
    """Send a command and return it when Kafka has acknowledged it.

    With an `idempotency_key`, a retry with the same key sends and returns the same command. Raises Conflict if the
    actor used the key for a different command, and Unavailable if Kafka did not acknowledge in time.
    """
    candidate = new_command(kind, actor=actor, reason=reason, arguments=arguments)
    command, acknowledged = _store_submission(resources.engine, candidate, idempotency_key)
    if (command.kind, command.reason, command.arguments) != (kind, reason, dict(arguments)):
        raise Conflict(f"The idempotency key {idempotency_key} was used for a different request. Use a new key.")
    if not acknowledged:
        resources.command_log.send(command)
        with resources.engine.begin() as db:
            same_command = submissions.c.command_id == command.command_id
            db.execute(update(submissions).where(same_command).values(acknowledged=True))
    return command


def _store_submission(engine: Engine, candidate: Command, idempotency_key: str | None) -> tuple[Command, bool]:
    """Return the command stored under the key, and whether Kafka acknowledged it. Stores `candidate` if there is
    none.
    """
    fields = {name: value for name, value in candidate._asdict().items() if name in submissions.c}
    row = {**fields, "idempotency_key": idempotency_key, "acknowledged": False}
    with engine.begin() as db:
        if db.execute(insert(submissions).values(row).on_conflict_do_nothing()).rowcount:
            return candidate, False
        same_key = (submissions.c.actor == candidate.actor, submissions.c.idempotency_key == idempotency_key)
        stored = db.execute(select(submissions).where(*same_key)).mappings().one()
    return command_of(stored), stored["acknowledged"]


def find_command(db: Connection, command_id: str) -> Command | None:
    """Return a command by its id, even before risk has processed it; None if unknown."""
    for table in (commands, submissions):
        row = db.execute(select(table).where(table.c.command_id == command_id)).mappings().first()
        if row is not None:
            return command_of(row)
    return None
