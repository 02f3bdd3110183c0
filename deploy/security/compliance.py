"""Check a platform against the security checklist, from its settings, state folder and database."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from deploy.home import Home
from schemas.errors import BadInput

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from configs.settings import Settings

JWT_KEY_BYTES, LOGIN_RATE_MAX, BACKUP_AGE_MAX_D, KEY_EXPIRY_WARNING_D = 32, 60, 7, 14
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "")
_WEAK_PASSWORDS = ("", "postgres", "password", "admin", "trading", "secret", "changeme", "redis")
_UNIT_MINUTES = {"second": 1 / 60, "minute": 1.0, "hour": 60.0, "day": 1440.0}


class ComplianceCheck(NamedTuple):
    """One check. `passed` is None if it could not be checked; `detail` explains the result."""

    name: str
    passed: bool | None
    detail: str


def settings_checks(home: Home, settings: Settings) -> Iterator[ComplianceCheck]:
    """Check settings and files."""
    yield _folder_mode(home)
    yield _file_modes(home)
    yield _state_folder(home)
    yield _kafka_authentication(settings)
    yield _jwt_key(home, settings)
    yield _admin_password(home)
    yield _database_password(settings)
    yield from _tls_checks(settings)
    yield _login_rate(settings)
    yield _origins(settings)
    yield _limits(settings)
    yield _backup_age(home)
    yield _signing_keys(home)


def database_checks(db: Connection) -> Iterator[ComplianceCheck]:
    """Check users and commands in the database."""
    from sqlalchemy import func, select

    from sinks.accounts import users
    from sinks.tables import commands

    rows = db.execute(select(users.c.username, users.c.role, users.c.must_change_password, users.c.disabled)).all()
    active = [row for row in rows if not row.disabled]
    admins = [row.username for row in active if row.role == "admin"]
    detail = f"{len(active)} enabled users, admins: {', '.join(admins) or 'none'}"
    yield ComplianceCheck(
        "admins exist and are at most half of the users",
        bool(admins) and len(admins) <= max(2, len(active) // 2),
        detail,
    )
    unchanged = [row.username for row in active if row.must_change_password]
    detail = f"initial password not changed: {', '.join(unchanged)}" if unchanged else "all changed"
    yield ComplianceCheck("users have changed their initial passwords", not unchanged, detail)
    anonymous = db.execute(select(func.count()).select_from(commands).where(commands.c.actor == "")).scalar()
    yield ComplianceCheck("every command has an actor", not anonymous, f"{anonymous} without an actor")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _folder_mode(home: Home) -> ComplianceCheck:
    name = "only the owner can access the secrets folder"
    if not home.secrets.exists():
        return ComplianceCheck(name, None, f"{home.secrets} does not exist yet")
    mode = _mode(home.secrets)
    return ComplianceCheck(name, mode & 0o077 == 0, f"{home.secrets} has mode {mode:o}")


def _file_modes(home: Home) -> ComplianceCheck:
    name = "only the owner can read files with secrets"
    files = [path for folder in (home.secrets, home.root / "backups") for path in folder.rglob("*") if path.is_file()]
    secret_files = [path for path in files if path.suffix != ".lock"]
    readable = [path.name for path in secret_files if _mode(path) & 0o077]
    return ComplianceCheck(
        name, not readable, f"readable by others: {', '.join(readable)}" if readable else f"{len(secret_files)} files"
    )


def _state_folder(home: Home) -> ComplianceCheck:
    """Check that other users cannot list the state folder, nor reach logs, records and snapshots in it."""
    name = "other users cannot read the state folder"
    folders = [folder for folder in (home.run, home.logs, home.recovery, *home.data.glob("*")) if folder.is_dir()]
    readable = [str(folder) for folder in folders if _mode(folder) & 0o077]
    readable += [str(folder) for folder in (home.root, home.data) if folder.is_dir() and _mode(folder) & 0o066]
    return ComplianceCheck(
        name,
        not readable if folders else None,
        f"open to others, closed at the next start: {', '.join(readable)}" if readable else f"{len(folders)} folders",
    )


def _kafka_authentication(settings: Settings) -> ComplianceCheck:
    """Check that Kafka knows its clients; otherwise, everybody who reaches it can write commands and orders."""
    security = settings.kafka.security
    if security.uses_password:
        found = f"{security.protocol}, {security.mechanism}, principal {security.user}"
    elif security.encrypted and security.certificate_file is not None:
        found = f"{security.protocol} with a client certificate"
    else:
        found = ""
    detail = found or f"{security.protocol} without credentials: every client that reaches Kafka can write commands"
    return ComplianceCheck("clients of Kafka authenticate", bool(found), detail)


def _jwt_key(home: Home, settings: Settings) -> ComplianceCheck:
    name = f"the token signing key has at least {JWT_KEY_BYTES} bytes"
    path = home.secrets / "api-jwt-key"
    if settings.api.jwt_key is not None:
        key = settings.api.jwt_key.get_secret_value()
    elif path.exists():
        key = path.read_text().strip()
    else:
        return ComplianceCheck(name, None, "the API generates the key at its first start")
    return ComplianceCheck(name, len(key.encode()) >= JWT_KEY_BYTES, f"{len(key.encode())} bytes")


def _admin_password(home: Home) -> ComplianceCheck:
    exists = (home.secrets / "admin-password").exists()
    detail = "unchanged (secrets/admin-password): log in and change it" if exists else "changed"
    return ComplianceCheck("the one-time admin password was changed", not exists, detail)


def _database_password(settings: Settings) -> ComplianceCheck:
    password = urlsplit(settings.database.postgres.url).password or ""
    is_weak = password.lower() in _WEAK_PASSWORDS or len(password) < 12
    detail = "empty, well known or shorter than 12 characters" if is_weak else f"{len(password)} characters"
    return ComplianceCheck("the database password is strong", not is_weak, detail)


def _tls_checks(settings: Settings) -> Iterator[ComplianceCheck]:
    """Check that connections to other machines use TLS."""
    databases = {
        "PostgreSQL": settings.database.postgres.url,
        "PostgreSQL replica": settings.database.postgres.replica_url,
    }
    for name, url in databases.items():
        if url is not None:
            address = urlsplit(url)
            mode = parse_qs(address.query).get("sslmode", ["prefer"])[0]
            encrypted = mode in ("require", "verify-ca", "verify-full")
            yield _tls_check(name, address.hostname or "", encrypted, f"sslmode={mode}")
    redis = urlsplit(settings.database.redis.url)
    yield _tls_check("Redis", redis.hostname or "", redis.scheme == "rediss", f"{redis.scheme}://")
    for server in settings.kafka.bootstrap_servers.split(","):
        host = server.strip().rpartition(":")[0]
        yield _tls_check(
            "Kafka", host, settings.kafka.security.encrypted, f"protocol {settings.kafka.security.protocol}"
        )


def _tls_check(service: str, host: str, encrypted: bool, detail: str) -> ComplianceCheck:
    name = f"{service} uses TLS or loopback"
    if host.strip("[]") in _LOOPBACK:
        return ComplianceCheck(name, True, "on loopback")
    return ComplianceCheck(name, encrypted, f"on {host}, {detail}")


def _login_rate(settings: Settings) -> ComplianceCheck:
    count, _, unit = settings.api.login_rate.partition("/")
    per_minute = int(count) / _UNIT_MINUTES[unit]
    detail = f"login_rate {settings.api.login_rate}, command_rate {settings.api.command_rate}"
    return ComplianceCheck(f"at most {LOGIN_RATE_MAX} logins per minute", per_minute <= LOGIN_RATE_MAX, detail)


def _origins(settings: Settings) -> ComplianceCheck:
    origins = settings.api.cors_origins
    return ComplianceCheck("allowed CORS origins have no wildcard", "*" not in origins, ", ".join(origins) or "none")


def _limits(settings: Settings) -> ComplianceCheck:
    risk = settings.risk()
    limits = {name: getattr(risk, name) for name in ("max_order_notional", "max_position_size", "max_daily_loss")}
    missing = [name for name, value in limits.items() if value is None or str(value) in ("unlimited", "Infinity")]
    detail = f"no limit: {', '.join(missing)}" if missing else ", ".join(f"{n} {v}" for n, v in limits.items())
    return ComplianceCheck("orders, positions and daily loss have limits", not missing, detail)


def _backup_age(home: Home, now: Callable[[], float] = time.time) -> ComplianceCheck:
    newest = max((path.stat().st_mtime for path in (home.root / "backups").glob("*.tar")), default=None)
    name = f"the newest backup is at most {BACKUP_AGE_MAX_D} days old"
    if newest is None:
        return ComplianceCheck(name, False, "no backup in backups/ of the state folder")
    days = (now() - newest) / 86_400
    return ComplianceCheck(name, days <= BACKUP_AGE_MAX_D, f"{days:.1f} days old")


def _signing_keys(home: Home, now_ns: Callable[[], int] = time.time_ns) -> ComplianceCheck:
    from sinks.signing_keys import FOLDER, WRITERS, read_key, read_recorded

    name, folder = "commands are signed, and no key is missing or about to expire", home.secrets / FOLDER
    try:
        if read_recorded(folder) is None:
            return ComplianceCheck(name, False, "no keys are recorded: `python cli.py start` creates them")
        keys = {writer: read_key(folder, writer) for writer in WRITERS}
    except BadInput as error:
        return ComplianceCheck(name, False, str(error))
    missing = [writer for writer, key in keys.items() if key is None]
    soon_ns = now_ns() + KEY_EXPIRY_WARNING_D * 86_400_000_000_000
    expiring = [writer for writer, key in keys.items() if key is not None and 0 < key.valid_until_ns < soon_ns]
    problems = [f"missing: {', '.join(missing)}"] if missing else []
    problems += [f"expires within {KEY_EXPIRY_WARNING_D} days: {', '.join(expiring)}"] if expiring else []
    return ComplianceCheck(name, not problems, "; ".join(problems) or f"keys of {', '.join(keys)}")
