"""A backup of the database as one file: a tar of `manifest.json` and `database.dump`, pg_dump's own format.

Dump, row counts and schema revision are of one moment: pg_dump reads the very snapshot that the counts were taken in.
It is restored in one transaction that counts the rows again before it commits.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, parse_dsn

from deploy.errors import DeployError
from deploy.local.postgres import binaries
from schemas.errors import BadInput
from sinks import audit
from sinks.database import libpq_url
from sinks.reading import records_of

VERSION = 1
MANIFEST, DUMP = "manifest.json", "database.dump"
_REVISIONS = "alembic_version"
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",  # pragma: allowlist secret
    "dbname": "PGDATABASE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}
"""Parts of an address as libpq's programs take them: on their command line everybody could read the password."""


class Manifest(NamedTuple):
    """What a backup holds. `tables` rows by table; `topics` the end of each partition at that time, empty where Kafka
    did not answer; `dump_sha256` of the entry `database.dump`.
    """

    created_at: str
    release: str
    revision: str
    server: str
    tables: dict[str, int]
    topics: dict[str, int]
    dump_bytes: int
    dump_sha256: str

    @property
    def rows(self) -> int:
        return sum(self.tables.values())


def write_backup(database_url: str, file: Path, *, release: str, topics: Mapping[str, int]) -> Manifest:
    """Write the backup beside `file` and move it there when it is whole. Only its owner may read it: it holds the
    hashes of passwords. Raises DeployError.
    """
    url = libpq_url(database_url)
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".backup-") as folder:
            dump, made = Path(folder) / DUMP, Path(folder) / file.name
            with _connected(database_url) as db:
                manifest = _dump(db, url, dump, release, topics)
            os.close(os.open(made, os.O_CREAT | os.O_WRONLY, 0o600))
            with tarfile.open(made, "w") as tar:
                _add(tar, MANIFEST, json.dumps({"version": VERSION, **manifest._asdict()}, indent=1).encode())
                tar.add(dump, DUMP, filter=_plain)
            made.replace(file)
    except OSError as error:
        raise DeployError(f"{file} cannot be written: {error.strerror}") from error
    return manifest


def _dump(db: connection, url: str, dump: Path, release: str, topics: Mapping[str, int]) -> Manifest:
    db.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with db.cursor() as cursor:
        cursor.execute("SELECT pg_export_snapshot(), current_setting('server_version')")
        [(snapshot, server)] = cursor.fetchall()
        tables = _counts(db)
        if _REVISIONS not in tables:
            raise DeployError("there is nothing to back up: the database was never migrated")
        cursor.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(_REVISIONS)))
        [(revision,)] = cursor.fetchall()
        # The snapshot lives as long as this transaction.
        command = [str(binaries() / "pg_dump"), "--format=custom", "--no-owner", "--no-privileges", f"--file={dump}"]
        _run([*command, f"--snapshot={snapshot}", "--table=public.*"], url, "pg_dump")
    digest = _sha256(dump)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(now, release, revision, server, tables, dict(topics), dump.stat().st_size, digest)


def read_manifest(file: Path) -> Manifest:
    """The manifest of a backup whose every byte is what it was.

    Raises BadInput naming the entry that is damaged, and for a schema of a newer release.
    """
    try:
        with tarfile.open(file, "r:") as tar:
            tree = json.loads(_entry(tar, MANIFEST, file).read())
            version = tree.pop("version", None)
            if version != VERSION:
                raise BadInput(f"{file}: entry {MANIFEST} has version {version!r}, this release reads {VERSION}")
            manifest = Manifest(**tree)
            if not all(isinstance(rows, int) for rows in manifest.tables.values()):
                raise BadInput(f"{file}: entry {MANIFEST} is damaged: the rows of each table must be a number")
            digest = hashlib.file_digest(_entry(tar, DUMP, file), "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}") from error
    except tarfile.TarError as error:
        raise BadInput(f"{file} is no backup, or it is damaged: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{file}: entry {MANIFEST} is damaged: {error}") from error
    if digest != manifest.dump_sha256:
        raise BadInput(f"{file}: entry {DUMP} is damaged: its SHA-256 begins {digest[:12]}, not as the manifest says")
    if manifest.revision not in _known_revisions():
        raise BadInput(f"{file} has schema {manifest.revision}, which this release does not know: it is of a newer one")
    return manifest


def require_room(database_url: str, *, force: bool) -> None:
    """Raises DeployError where the database has rows that `force` does not give up."""
    with _connected(database_url) as db:
        filled = {name: rows for name, rows in _counts(db).items() if rows and name != _REVISIONS}
    if filled and not force:
        name, rows = max(filled.items(), key=lambda item: item[1])
        raise DeployError(f"the database is not empty ({name} has {rows:,} rows); --force replaces all that is in it")


def restore_backup(database_url: str, file: Path, *, force: bool) -> Manifest:
    """Replace what is in the database by the backup, all of it or nothing. The schema is the backup's: migrate it then.

    Raises BadInput for a damaged file and a schema of a newer release, DeployError where the database has rows and
    `force` is not given, or does not take the backup.
    """
    manifest = read_manifest(file)
    require_room(database_url, force=force)
    url = libpq_url(database_url)
    with _connected(database_url) as db:
        before = "".join(_sql(db, "DROP TABLE {} CASCADE;\n", name) for name in _counts(db))
        after = "".join(_counting(db, name, rows) for name, rows in manifest.tables.items())
    with tempfile.TemporaryDirectory(prefix="restore-") as folder:
        dump, script = Path(folder) / DUMP, Path(folder) / "restore.sql"
        with tarfile.open(file, "r:") as tar, _entry(tar, DUMP, file) as packed, dump.open("wb") as unpacked:
            while block := packed.read(1 << 20):
                unpacked.write(block)
        _run([str(binaries() / "pg_restore"), "--no-owner", f"--file={script}", str(dump)], url, "pg_restore")
        command = [str(binaries() / "psql"), "--quiet", "--no-psqlrc", "--single-transaction", "--output=/dev/null"]
        command += ["--set=ON_ERROR_STOP=1"]
        # The backup leaves search_path empty behind itself; what counts afterwards names its schema.
        said = [f"--command={before}"] if before else []
        _run([*command, *said, f"--file={script}", f"--command={after}"], url, "psql")
    return manifest


@contextmanager
def _connected(database_url: str) -> Iterator[connection]:
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as db:
            yield db
    except psycopg2.Error as error:
        raise DeployError(f"the database cannot be read: {str(error).strip().splitlines()[0]}") from error


def link_the_rest(database_url: str) -> None:
    """Go on with the audit chain of a restored database over the rows that came back from the topics behind it.

    The links follow from the records alone, so they are those that the lost database had.
    """
    with _connected(database_url) as db, db.cursor() as cursor:
        audit.extend(cursor, {kind: list(records_of(db, kind)) for kind in audit.AUDITED}, begin=True)
        db.commit()


def _counts(db: connection) -> dict[str, int]:
    """Rows of every table of the platform."""
    with db.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        found = {}
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(name)))
            [(found[name],)] = cursor.fetchall()
    return found


def _sql(db: connection, statement: str, name: str) -> str:
    return sql.SQL(statement).format(sql.Identifier("public", name)).as_string(db)


def _counting(db: connection, name: str, rows: int) -> str:
    """A statement that fails, and with it the transaction, where the table has not so many rows."""
    count = _sql(db, "SELECT count(*) FROM {}", name)
    return (
        f"DO $$ BEGIN ASSERT ({count}) = {rows:d}, 'table {name} has not the {rows:d} rows of the manifest'; END $$;\n"
    )


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    from sinks.database import MIGRATIONS

    return {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}


def _run(command: list[str], url: str, name: str) -> None:
    """Raises DeployError with the program's first complaint."""
    parts = parse_dsn(url)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "5"}
    environment |= {_VARIABLES[key]: str(value) for key, value in parts.items() if key in _VARIABLES}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise DeployError(f"{name}: {lines[0].strip() if lines else f'ended with {done.returncode}'}")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _entry(tar: tarfile.TarFile, name: str, file: Path) -> Any:
    try:
        opened = tar.extractfile(name)
    except KeyError as error:
        raise BadInput(f"{file}: entry {name} is missing") from error
    if opened is None:
        raise BadInput(f"{file}: entry {name} is no file")
    return opened


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mode, info.uid, info.gid, info.uname, info.gname = 0o600, 0, 0, "", ""
    return info
