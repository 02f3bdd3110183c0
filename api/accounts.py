"""Users and their sessions in PostgreSQL. Logins do not need Redis. Ending a session here is permanent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from api import second_factor
from api.passwords import hash_password, one_time_password, validate_password, verify_password
from api.problems import Conflict, NotFound
from api.roles import Role
from api.second_factor import Enrolment
from api.tokens import Token, Unauthenticated, new_id
from schemas.errors import BadInput
from sinks.accounts import sessions, users

log = structlog.get_logger(__name__)

FIRST_USER = "admin"
PASSWORD_FILE = "admin-password"  # noqa: S105  (a file's name)
SESSION_CACHE_S = 5.0
"""How long a session is cached: its end, a new role or password takes effect in all API processes after this time."""
SESSIONS_CACHED_MAX = 10_000
_FIRST_USER_LOCK, _ADMINS_LOCK = 7_203_114_002, 7_203_114_003

BeforeCommit = Callable[[], None]
"""Called in the transaction of a change, before its commit. If it raises, nothing changes."""


def _nothing() -> None:
    """The default of `before_commit`."""


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


class _SessionCache:
    """The users of the sessions that requests carried, each for `SESSION_CACHE_S`; None for an ended session."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, str, User | None]] = {}
        self._lock = threading.Lock()

    def get(self, session_id: str, username: str) -> tuple[bool, User | None]:
        """Return whether there is a current entry, and its user."""
        with self._lock:
            expires_at, cached_name, user = self._entries.get(session_id, (0.0, "", None))
        is_current = time.monotonic() < expires_at and cached_name == username
        return is_current, user if is_current else None

    def put(self, session_id: str, username: str, user: User | None) -> None:
        now = time.monotonic()
        with self._lock:
            if len(self._entries) >= SESSIONS_CACHED_MAX:
                self._entries = {key: entry for key, entry in self._entries.items() if entry[0] > now}
            if len(self._entries) < SESSIONS_CACHED_MAX:
                self._entries[session_id] = (now + SESSION_CACHE_S, username, user)

    def forget(self, session_id: str) -> None:
        with self._lock:
            self._entries.pop(session_id, None)

    def forget_user(self, username: str) -> None:
        with self._lock:
            self._entries = {key: entry for key, entry in self._entries.items() if entry[1] != username}


class Accounts:
    """Operations on users and sessions. Every method that changes data runs in one transaction."""

    def __init__(self, engine: Engine, secrets_folder: Path, *, access_s: int, refresh_s: int) -> None:
        self._engine, self._secrets = engine, secrets_folder
        self._access_s, self._refresh_s = access_s, refresh_s
        self._sessions_seen = _SessionCache()

    def make_first_user(self) -> bool:
        """Create the user `admin` if there are no users, with a one-time password in a file that only its owner can
        read.

        Return whether it created the user. The file is written first: after a crash in between, a password without a
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

    def user_of_session(self, session_id: str, username: str) -> User | None:
        """Return the user of a session; None if the session has ended or belongs to another user.

        The result is at most `SESSION_CACHE_S` old, so that not every request needs a query.
        """
        is_cached, user = self._sessions_seen.get(session_id, username)
        if is_cached:
            return user
        query = select(users).join(sessions, sessions.c.username == users.c.username)
        with self._engine.connect() as db:
            row = db.execute(query.where(sessions.c.session_id == session_id, users.c.username == username))
            match = row.mappings().first()
        user = None if match is None else _user(match)
        self._sessions_seen.put(session_id, username, user)
        return user

    def all_users(self) -> list[User]:
        with self._engine.connect() as db:
            return [_user(row) for row in db.execute(select(users).order_by(users.c.username)).mappings()]

    def add_user(self, username: str, role: Role, *, before_commit: BeforeCommit = _nothing) -> str:
        """Add a user and return the one-time password. Raises Conflict if the name is in use."""
        password = one_time_password()
        with self._engine.begin() as db:
            if not _add(db, username, password, role):
                raise Conflict(f"User {username} already exists.")
            before_commit()
        return password

    def change_user(
        self,
        username: str,
        *,
        role: Role | None,
        disabled: bool | None,
        by: str,
        before_commit: BeforeCommit = _nothing,
    ) -> User:
        """Change the role, or disable or enable the user. All existing tokens of the user become invalid.

        Raises NotFound, BadInput if the user is the caller, and Conflict if no enabled admin would remain.
        """
        if username == by:
            raise BadInput("You cannot change your own role or disable yourself. Ask another admin.")
        values = {"role": role, "disabled": disabled}
        values = {name: value for name, value in values.items() if value is not None}
        change = update(users).where(users.c.username == username).returning(users)
        with self._engine.begin() as db:
            # Two admins that demote each other at the same time must not both succeed.
            db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADMINS_LOCK})
            row = db.execute(change.values(**values, token_version=users.c.token_version + 1)).mappings().first()
            if row is None:
                raise NotFound(f"User {username} does not exist.")
            enabled_admins = select(func.count()).where(users.c.role == Role.ADMIN.value, ~users.c.disabled)
            if not db.execute(enabled_admins).scalar_one():
                raise Conflict(f"{username} is the last enabled admin. Make another user an admin first.")
            db.execute(delete(sessions).where(sessions.c.username == username))
            before_commit()
        self._sessions_seen.forget_user(username)
        return _user(row)

    def reset_password(self, username: str, *, before_commit: BeforeCommit = _nothing) -> str:
        """Set and return a new one-time password, and end all sessions of the user. Raises NotFound."""
        password = one_time_password()
        with self._engine.begin() as db:
            if not _set_password(db, username, password, must_change=True):
                raise NotFound(f"User {username} does not exist.")
            before_commit()
        self._sessions_seen.forget_user(username)
        return password

    def log_in(self, username: str, password: str, code: str | None = None) -> IssuedTokens:
        """Open a session. `code` is the second factor, if the account has one.

        Raises Unauthenticated; an unknown name has the same message and response time as a wrong password.
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
            second_factor.verify(db, username, code)
            return self._open_session(db, _user(row))

    def refresh(self, token: Token) -> IssuedTokens:
        """Return the session's next pair of tokens. Reuse of a refresh token ends the session, because it signals
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
        self._sessions_seen.forget(token.session_id)
        if sessions_ended:
            log.warning("refresh token reused or outdated, session ended", username=token.username)
        raise Unauthenticated("The session has ended. Log in again.")

    def log_out(self, session_id: str) -> None:
        with self._engine.begin() as db:
            db.execute(delete(sessions).where(sessions.c.session_id == session_id))
        self._sessions_seen.forget(session_id)

    def begin_second_factor(self, username: str, password: str) -> Enrolment:
        """Store a new TOTP secret, which `confirm_second_factor` turns on. Raises Unauthenticated."""
        self._check_password(username, password)
        with self._engine.begin() as db:
            return second_factor.begin(db, username)

    def confirm_second_factor(self, username: str, code: str, *, before_commit: BeforeCommit = _nothing) -> list[str]:
        """Turn the second factor on and return the recovery codes. Raises Unauthenticated for a wrong code."""
        with self._engine.begin() as db:
            codes = second_factor.confirm(db, username, code)
            before_commit()
        return codes

    def disable_second_factor(self, username: str, password: str, *, before_commit: BeforeCommit = _nothing) -> None:
        """Turn the user's own second factor off. Raises Unauthenticated for a wrong password."""
        self._check_password(username, password)
        self.reset_second_factor(username, before_commit=before_commit)

    def reset_second_factor(self, username: str, *, before_commit: BeforeCommit = _nothing) -> None:
        """Turn a user's second factor off, for example after the loss of a phone. Raises NotFound."""
        with self._engine.begin() as db:
            if not second_factor.remove(db, username):
                raise NotFound(f"User {username} has no second factor.")
            before_commit()

    def _check_password(self, username: str, password: str) -> None:
        with self._engine.connect() as db:
            row = db.execute(select(users).where(users.c.username == username)).mappings().first()
        if row is None or not verify_password(password, row["password_hash"]):
            raise Unauthenticated("The current password is wrong.")

    def change_password(self, username: str, old: str, new: str) -> IssuedTokens:
        """Set the password, end all sessions of the user and open a new one.

        Raises Unauthenticated for a wrong old password, BadInput for a new password that breaks the rules.
        """
        self._check_password(username, old)
        validate_password(new, username=username, old=old)
        with self._engine.begin() as db:
            user = _set_password(db, username, new, must_change=False)
            assert user is not None, "users are never deleted"
            issued = self._open_session(db, user)
        self._sessions_seen.forget_user(username)
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
        username=row["username"],
        role=Role(row["role"]),
        must_change_password=row["must_change_password"],
        disabled=row["disabled"],
        token_version=row["token_version"],
        created_at=row["created_at"],
    )


def _utc_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
