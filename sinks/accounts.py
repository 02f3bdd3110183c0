"""Tables of the API's own: who may use it, who is logged in, and what was submitted through it.

Unlike those of `sinks.tables` they are no copies of topics. What a person asked for is in the topic `commands`; a
submission is the promise made to the caller before it got there.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, ForeignKey, Index, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from sinks.tables import metadata

users = Table(
    "users",
    metadata,
    Column("username", Text, primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    # The password was made by somebody else and opens nothing but the page where it is changed.
    Column("must_change_password", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    # Tokens of an older version are not accepted: a new password or role raises it.
    Column("token_version", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# One row per log-in. A refresh token is good once: `refresh_id` names the one that is next.
sessions = Table(
    "sessions",
    metadata,
    Column("session_id", Text, primary_key=True),
    Column(
        "username", Text, ForeignKey("users.username", name="fk_sessions_username", ondelete="CASCADE"), nullable=False
    ),
    Column("refresh_id", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index(None, "username"),
    Index(None, "expires_at"),
)
# Written before the command is sent, so that sending it again is the same command.
submissions = Table(
    "submissions",
    metadata,
    Column("command_id", Text, primary_key=True),
    Column("ts_ns", BigInteger, nullable=False, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("arguments", JSONB, nullable=False),
    Column("idempotency_key", Text),
    Column("acknowledged", Boolean, nullable=False),
    # Keys that nobody gave are NULL and never meet.
    Index("ux_submissions_actor_idempotency_key", "actor", "idempotency_key", unique=True),
)
