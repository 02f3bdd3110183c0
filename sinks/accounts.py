"""Tables of the API: users, sessions, and submitted commands.

Unlike the tables of `sinks.tables`, they are not copies of topics. The topic `commands` holds each command; a
submission records that the API accepted it before it was published.
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
    # An administrator set the password; it only gives access to the page where the user changes it.
    Column("must_change_password", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    # Tokens of an older version are rejected; a new password or role raises the version.
    Column("token_version", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# One row per login. A refresh token is valid once: `refresh_id` is the id of the next valid one.
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
# Written before the command is sent, so that a retry sends the same command.
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
    # Missing keys are NULL, which the unique index does not compare.
    Index("ux_submissions_actor_idempotency_key", "actor", "idempotency_key", unique=True),
)
