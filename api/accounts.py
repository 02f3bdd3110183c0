"""Users and their sessions in PostgreSQL. Logins do not need Redis. Ending a session here is permanent."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from api.passwords import hash_password, one_time_password, validate_password, verify_password
from api.problems import Conflict, NotFound
from api.roles import Role
from api.tokens import Token, Unauthenticated, new_id
from schemas.errors import BadInput
from sinks.accounts import sessions, users

log = structlog.get_logger(__name__)

FIRST_USER = "admin"
PASSWORD_FILE = "admin-password"  # noqa: S105  (a file's name)
USER_CACHE_S = 5.0
"""How long a user is cached: a new role or password takes effect in all API processes after this time."""
_FIRST_USER_LOCK = 7_203_114_002


class User(NamedTuple):
    username: str
    role: Role
    must_change_password: bool
    disabled: bool
    token_version: int
    created_at: datetime


class IssuedTokens(NamedTuple):
    """A session's next two tokens, unsigned."""

    user: User
    access: Token
    refresh: Token


class Accounts:
    """Operations on users and sessions. Every method that changes data runs in one transaction."""

    def __init__(self, engine: Engine, secrets_folder: Path, *, access_s: int, refresh_s: int) -> None:
        self._engine, self._secrets = engine, secrets_folder
        self._access_s, self._refresh_s = access_s, refresh_s
        self._cached_users: dict[str, tuple[float, User | None]] = {}

    def make_first_user(self) -> bool:
        """Creates the user `admin` if there are no users, with a one-time password in a file that only its owner can
        read.

        Returns whether it created the user. The file is written first: after a crash in between, a password without a
        user is harmless, but a user without a known password is not.
        """
        with self._engine.begin() as db:
            if db.execute(select(users.c.username).limit(1)).first() is not None:
                return False
            # API processes that start at the same time must not each create a password.
            db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _FIRST_USER_LOCK})
            if db.execute(select(users.c.username).limit(1)).first() is not None:
                return False
            password = one_time_password()
            self._write_password(password)
            _add(db, FIRST_USER, password, Role.ADMIN)
        log.warning("first user created", username=FIRST_USER, password_file=PASSWORD_FILE)
        return True

    def user(self, username: str) -> User | None:
        with self._engine.connect() as db:
            row = db.execute(select(users).where(users.c.username == username)).mappings().first()
        return None if row is None else _user(row)

    def cached_user(self, username: str) -> User | None:
        """Returns the user, at most `USER_CACHE_S` old, so that not every request needs a query."""
        expires_at, user = self._cached_users.get(username, (0.0, None))
        if time.monotonic() >= expires_at:
            user = self.user(username)
            self._cached_users[username] = (time.monotonic() + USER_CACHE_S, user)
        return user

    def all_users(self) -> list[User]:
        with self._engine.connect() as db:
            return [_user(row) for row in db.execute(select(users).order_by(users.c.username)).mappings()]

    def add_user(self, username: str, role: Role) -> str:
        """Adds a user and returns the one-time password. Raises Conflict if the name is in use."""
        password = one_time_password()
        with self._engine.begin() as db:
            if not _add(db, username, password, role):
                raise Conflict(f"User {username} already exists.")
        return password

    def change_user(self, username: str, *, role: Role | None, disabled: bool | None, by: str) -> User:
        """Changes the role, or disables or enables the user. All existing tokens of the user become invalid.

        Raises NotFound, and BadInput if the user is the caller.
        """
        if username == by:
            raise BadInput("You cannot change your own role or disable yourself. Ask another admin.")
        values = {"role": role, "disabled": disabled}
        values = {name: value for name, value in values.items() if value is not None}
        change = update(users).where(users.c.username == username).returning(users)
        with self._engine.begin() as db:
            row = db.execute(change.values(**values, token_version=users.c.token_version + 1)).mappings().first()
            if row is None:
                raise NotFound(f"User {username} does not exist.")
            db.execute(delete(sessions).where(sessions.c.username == username))
        self._cached_users.pop(username, None)
        return _user(row)

    def reset_password(self, username: str) -> str:
        """Sets and returns a new one-time password and ends all sessions of the user. Raises NotFound."""
        password = one_time_password()
        with self._engine.begin() as db:
            if not _set_password(db, username, password, must_change=True):
                raise NotFound(f"User {username} does not exist.")
        self._cached_users.pop(username, None)
        return password

    def log_in(self, username: str, password: str) -> IssuedTokens:
        """Opens a session. Raises Unauthenticated; an unknown name has the same message and response time as a wrong
        password.
        """
        with self._engine.connect() as db:
            row = db.execute(select(users).where(users.c.username == username)).mappings().first()
        if (
            not verify_password(password, None if row is None else row["password_hash"])
            or row is None
            or row["disabled"]
        ):
            raise Unauthenticated("Wrong username or password.")
        with self._engine.begin() as db:
            return self._open_session(db, _user(row))

    def refresh(self, token: Token) -> IssuedTokens:
        """Returns the session's next pair of tokens. Reuse of a refresh token ends the session, because it signals
        theft.

        Raises Unauthenticated.
        """
        next_id, now = new_id(), time.time()
        this_session = (sessions.c.session_id == token.session_id, sessions.c.username == token.username)
        with self._engine.begin() as db:
            rotated = db.execute(
                update(sessions)
                .where(*this_session, sessions.c.refresh_id == token.token_id, sessions.c.expires_at > func.now())
                .values(refresh_id=next_id, expires_at=_utc_datetime(now + self._refresh_s))
            )
            row = db.execute(select(users).where(users.c.username == token.username)).mappings().first()
            user = None if row is None or row["disabled"] else _user(row)
            if rotated.rowcount == 1 and user is not None and user.token_version == token.version:
                return self._issue_tokens(user, token.session_id, next_id, now)
            sessions_ended = db.execute(delete(sessions).where(*this_session)).rowcount
        if sessions_ended:
            log.warning("refresh token reused or outdated, session ended", username=token.username)
        raise Unauthenticated("The session has ended. Log in again.")

    def log_out(self, session_id: str) -> None:
        with self._engine.begin() as db:
            db.execute(delete(sessions).where(sessions.c.session_id == session_id))

    def change_password(self, username: str, old: str, new: str) -> IssuedTokens:
        """Sets the password, ends all sessions of the user and opens a new one.

        Raises Unauthenticated for a wrong old password, BadInput for a new password that breaks the rules.
        """
        with self._engine.connect() as db:
            row = db.execute(select(users).where(users.c.username == username)).mappings().first()
        if row is None or not verify_password(old, row["password_hash"]):
            raise Unauthenticated("The current password is wrong.")
        validate_password(new, username=username, old=old)
        with self._engine.begin() as db:
            user = _set_password(db, username, new, must_change=False)
            assert user is not None, "users are never deleted"
            issued = self._open_session(db, user)
        self._cached_users.pop(username, None)
        if username == FIRST_USER:
            (self._secrets / PASSWORD_FILE).unlink(missing_ok=True)
        return issued

    def _open_session(self, db: Connection, user: User) -> IssuedTokens:
        now = time.time()
        issued = self._issue_tokens(user, new_id(), new_id(), now)
        # Remove the expired sessions of all users.
        db.execute(delete(sessions).where(sessions.c.expires_at <= func.now()))
        db.execute(
            insert(sessions).values(
                session_id=issued.refresh.session_id,
                username=user.username,
                refresh_id=issued.refresh.token_id,
                expires_at=_utc_datetime(now + self._refresh_s),
            )
        )
        return issued

    def _issue_tokens(self, user: User, session_id: str, refresh_id: str, now: float) -> IssuedTokens:
        user_claims = (user.username, user.role.value, user.must_change_password, user.token_version)
        access = Token(*user_claims, new_id(), session_id, int(now + self._access_s))
        return IssuedTokens(user, access, Token(*user_claims, refresh_id, session_id, int(now + self._refresh_s)))

    def _write_password(self, password: str) -> None:
        self._secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._secrets / PASSWORD_FILE
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password + "\n")


def _add(db: Connection, username: str, password: str, role: Role) -> bool:
    row = upsert(users).values(
        username=username,
        password_hash=hash_password(password),
        role=role.value,
        must_change_password=True,
        disabled=False,
        token_version=1,
    )
    return db.execute(row.on_conflict_do_nothing().returning(users.c.username)).first() is not None


def _set_password(db: Connection, username: str, password: str, *, must_change: bool) -> User | None:
    changed = db.execute(
        update(users)
        .where(users.c.username == username)
        .values(
            password_hash=hash_password(password),
            must_change_password=must_change,
            token_version=users.c.token_version + 1,
        )
        .returning(users)
    )
    row = changed.mappings().first()
    db.execute(delete(sessions).where(sessions.c.username == username))
    return None if row is None else _user(row)


def _user(row: RowMapping) -> User:
    return User(
        row["username"],
        Role(row["role"]),
        row["must_change_password"],
        row["disabled"],
        row["token_version"],
        row["created_at"],
    )


def _utc_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
