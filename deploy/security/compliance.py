"""A checklist computed from the real settings and the real state folder: nothing on it is only claimed."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from deploy.home import Home

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from configs.settings import Settings

JWT_KEY_BYTES, LOGIN_RATE_MAX, BACKUP_AGE_MAX_D = 32, 60, 7
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "")
_GUESSED = ("", "postgres", "password", "admin", "trading", "secret", "changeme", "redis")
_UNIT_MIN = {"second": 1 / 60, "minute": 1.0, "hour": 60.0, "day": 1440.0}


class Check(NamedTuple):
    """One line of the list. `passed` None: it could not be looked at, and `said` says why."""

    name: str
    passed: bool | None
    said: str


def checks(home: Home, settings: Settings) -> Iterator[Check]:
    """Of settings and files."""
    yield _folder_mode(home)
    yield _file_modes(home)
    yield _jwt_key(home, settings)
    yield _admin_password(home)
    yield _database_password(settings)
    yield from _encrypted(settings)
    yield _login_rate(settings)
    yield _origins(settings)
    yield _limits(settings)
    yield _backup_age(home)


def database_checks(db: Connection) -> Iterator[Check]:
    """Of the users and of what was asked for."""
    from sqlalchemy import func, select

    from sinks.accounts import users
    from sinks.tables import commands

    rows = db.execute(select(users.c.username, users.c.role, users.c.must_change_password, users.c.disabled)).all()
    active = [row for row in rows if not row.disabled]
    admins = [row.username for row in active if row.role == "admin"]
    said = f"{len(active)} users let in, admins: {', '.join(admins) or 'none'}"
    yield Check(
        "there is an admin, and not everybody is one", bool(admins) and len(admins) <= max(2, len(active) // 2), said
    )
    waiting = [row.username for row in active if row.must_change_password]
    said = f"still with a password that somebody else made: {', '.join(waiting)}" if waiting else "all changed"
    yield Check("passwords are the users' own", not waiting, said)
    nobody = db.execute(select(func.count()).select_from(commands).where(commands.c.actor == "")).scalar()
    yield Check("every command names who asked", not nobody, f"{nobody} without a name")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _folder_mode(home: Home) -> Check:
    name = "the folder of secrets is closed to others"
    if not home.secrets.exists():
        return Check(name, None, f"{home.secrets} does not exist yet")
    mode = _mode(home.secrets)
    return Check(name, mode & 0o077 == 0, f"{home.secrets} has mode {mode:o}")


def _file_modes(home: Home) -> Check:
    name = "files with secrets are for their owner only"
    files = [path for folder in (home.secrets, home.root / "backups") for path in folder.glob("*") if path.is_file()]
    held = [path for path in files if path.suffix != ".lock"]
    open_ = [path.name for path in held if _mode(path) & 0o077]
    return Check(name, not open_, f"open to others: {', '.join(open_)}" if open_ else f"{len(held)} files")


def _jwt_key(home: Home, settings: Settings) -> Check:
    name = f"the key that signs tokens has {JWT_KEY_BYTES} bytes or more"
    path = home.secrets / "api-jwt-key"
    if settings.api.jwt_key is not None:
        key = settings.api.jwt_key.get_secret_value()
    elif path.exists():
        key = path.read_text().strip()
    else:
        return Check(name, None, "the API makes one at its first start")
    return Check(name, len(key.encode()) >= JWT_KEY_BYTES, f"{len(key.encode())} bytes")


def _admin_password(home: Home) -> Check:
    left = (home.secrets / "admin-password").exists()
    said = "it is still in secrets/admin-password: log in and change it" if left else "it was changed"
    return Check("the one-time password of admin is not in use", not left, said)


def _database_password(settings: Settings) -> Check:
    password = urlsplit(settings.database.postgres.url).password or ""
    weak = password.lower() in _GUESSED or len(password) < 12
    said = "it is empty, well known or shorter than 12 characters" if weak else f"{len(password)} characters"
    return Check("the database password cannot be guessed", not weak, said)


def _encrypted(settings: Settings) -> Iterator[Check]:
    """TLS wherever a connection leaves the machine."""
    databases = {"PostgreSQL": settings.database.postgres.url, "Its replica": settings.database.postgres.replica_url}
    for name, url in databases.items():
        if url is not None:
            address = urlsplit(url)
            mode = parse_qs(address.query).get("sslmode", ["prefer"])[0]
            encrypted = mode in ("require", "verify-ca", "verify-full")
            yield _tls(name, address.hostname or "", encrypted, f"sslmode={mode}")
    redis = urlsplit(settings.database.redis.url)
    yield _tls("Redis", redis.hostname or "", redis.scheme == "rediss", f"{redis.scheme}://")
    for server in settings.kafka.bootstrap_servers.split(","):
        host = server.strip().rpartition(":")[0]
        yield _tls("Kafka", host, settings.kafka.security.encrypted, f"protocol {settings.kafka.security.protocol}")


def _tls(service: str, host: str, encrypted: bool, said: str) -> Check:
    name = f"{service} is reached by TLS, or does not leave the machine"
    if host.strip("[]") in _LOOPBACK:
        return Check(name, True, "on loopback")
    return Check(name, encrypted, f"on {host}, {said}")


def _login_rate(settings: Settings) -> Check:
    count, _, unit = settings.api.login_rate.partition("/")
    a_minute = int(count) / _UNIT_MIN[unit]
    said = f"login_rate {settings.api.login_rate}, command_rate {settings.api.command_rate}"
    return Check(f"at most {LOGIN_RATE_MAX} log-ins a minute", a_minute <= LOGIN_RATE_MAX, said)


def _origins(settings: Settings) -> Check:
    origins = settings.api.cors_origins
    return Check("pages of other origins are named one by one", "*" not in origins, ", ".join(origins) or "none")


def _limits(settings: Settings) -> Check:
    risk = settings.risk()
    limits = {name: getattr(risk, name) for name in ("max_order_notional", "max_position_size", "max_daily_loss")}
    missing = [name for name, value in limits.items() if value is None or str(value) in ("unlimited", "Infinity")]
    said = f"without a limit: {', '.join(missing)}" if missing else ", ".join(f"{n} {v}" for n, v in limits.items())
    return Check("orders, positions and the day's loss have limits", not missing, said)


def _backup_age(home: Home, now: Callable[[], float] = time.time) -> Check:
    newest = max((path.stat().st_mtime for path in (home.root / "backups").glob("*.tar")), default=None)
    name = f"there is a backup of the last {BACKUP_AGE_MAX_D} days"
    if newest is None:
        return Check(name, False, "there is none in backups/ of the state folder")
    days = (now() - newest) / 86_400
    return Check(name, days <= BACKUP_AGE_MAX_D, f"the newest is {days:.1f} days old")
