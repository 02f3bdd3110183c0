"""A caller's command on its way into the topic `commands`: noted first, then sent, so that a repeat is the same
command.

The stages take a command id once (`operators/risk`), so sending again after a lost answer changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects.postgresql import insert

from api.problems import Conflict
from api.resources import Resources
from schemas.records import Command
from sinks.accounts import submissions
from sinks.commands import new_command
from sinks.tables import commands, record_of


def submit(
    resources: Resources, kind: str, *, actor: str, reason: str, arguments: Mapping[str, str], key: str | None = None
) -> Command:
    """The command, once it is in the log for good. `key` is the caller's idempotency key.

    Raises Conflict where the actor used the key for something else, Unavailable where Kafka did not take it in time;
    the same key then sends the same command again.
    """
    wanted = new_command(kind, actor=actor, reason=reason, arguments=arguments)
    command, acknowledged = _note(resources.engine, wanted, key)
    if (command.kind, command.reason, command.arguments) != (kind, reason, dict(arguments)):
        raise Conflict(f"The idempotency key {key} was used for something else.")
    if not acknowledged:
        resources.commands.send(command)
        with resources.engine.begin() as db:
            mine = submissions.c.command_id == command.command_id
            db.execute(update(submissions).where(mine).values(acknowledged=True))
    return command


def _note(engine: Engine, wanted: Command, key: str | None) -> tuple[Command, bool]:
    """What is noted under the key, and whether the broker has it: `wanted` where the key is new or there is none."""
    row = {**wanted._asdict(), "idempotency_key": key, "acknowledged": False}
    with engine.begin() as db:
        if db.execute(insert(submissions).values(row).on_conflict_do_nothing()).rowcount:
            return wanted, False
        same = (submissions.c.actor == wanted.actor, submissions.c.idempotency_key == key)
        found = db.execute(select(submissions).where(*same)).mappings().one()
    return record_of(Command, found), found["acknowledged"]


def find_command(db: Connection, command_id: str) -> Command | None:
    """A command by its id, also before risk has stored it."""
    for table in (commands, submissions):
        row = db.execute(select(table).where(table.c.command_id == command_id)).mappings().first()
        if row is not None:
            return record_of(Command, row)
    return None
