"""Tables of the API: users, sessions, second factors, and submitted commands.

Unlike the tables of `sinks.tables`, they are not copies of topics. The topic `commands` holds each command; a
submission records that the API accepted it before it was published.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, ForeignKey, Index, RowMapping, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from schemas.records import Command
from sinks.record_tables import record_of
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
# One row per user with a second factor. It counts once `confirmed`.
second_factors = Table(
    "second_factors",
    metadata,
    Column(
        "username",
        Text,
        ForeignKey("users.username", name="fk_second_factors_username", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("secret", Text, nullable=False),  # base32
    Column("confirmed", Boolean, nullable=False),
    # The 30 s step of the last accepted code: a code is valid once.
    Column("last_step", BigInteger, nullable=False),
    Column("recovery_digests", JSONB, nullable=False),
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


def command_of(row: RowMapping) -> Command:
    """Return the command of a row of `submissions`, which has no signature, or of `commands`."""
    return record_of(Command, {"key_id": "", "signature": ""} | dict(row))
