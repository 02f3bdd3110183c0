"""What a person asks for enters the platform here: as a record in the topic `commands`, before anything acts on it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

from schemas.codec import encode
from schemas.errors import Unavailable
from schemas.records import TOPIC_OF, Command
from sinks.kafka import producer


def new_command(kind: str, *, actor: str, reason: str, arguments: Mapping[str, str] | None = None) -> Command:
    """A command of this moment with an id of its own: an edge may read a clock, what it read is in the record."""
    return Command(f"cmd-{uuid.uuid4()}", time.time_ns(), kind, actor, reason, dict(arguments or {}))


def send(servers: str, command: Command, *, prefix: str = "", timeout_s: float = 10.0) -> None:
    """Return once the broker has the command for good. Sending it again is safe: its id stays the same.

    Raises Unavailable when the broker did not acknowledge it in time; then it may or may not be in the log.
    """
    failed: list[str] = []
    out = producer(servers)
    out.produce(
        prefix + TOPIC_OF[Command],
        encode(command),
        partition=0,
        on_delivery=lambda error, _: failed.append(error.str()) if error is not None else None,
    )
    left = out.flush(timeout_s)
    if left or failed:
        raise Unavailable(f"command {command.command_id}: {failed[0] if failed else f'no answer in {timeout_s:g} s'}")
