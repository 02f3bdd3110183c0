"""Back up and restore the database as one tar file of `manifest.json` and `database.dump` (pg_dump's custom format).

In an encrypted backup, each entry has the suffix `.age`. Dump, row counts and schema revision are consistent: pg_dump
reads the same snapshot in which the rows were counted. A restore is one transaction, which counts the rows again before
it commits. Data of an encrypted backup are never on disk in plain text.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, parse_dsn

from deploy.backup.encryption import ENCRYPTED_SUFFIX, copy_decrypted, copy_encrypted
from deploy.backup.subprocess_io import PipedProgram
from deploy.errors import DeployError
from deploy.local.postgres import binaries
from schemas.errors import BadInput
from sinks import audit
from sinks.database import libpq_url
from sinks.queries import stream_records

if TYPE_CHECKING:
    from pyrage.x25519 import Identity, Recipient

VERSION = 1
MANIFEST, DUMP = "manifest.json", "database.dump"
_REVISION_TABLE = "alembic_version"
_LIBPQ_VARIABLES = {
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
"""Environment variables for the parts of an address: a password on a command line would be visible to all users."""


class Manifest(NamedTuple):
    """Describes a backup.

    `tables` maps each table to its rows. `topics` maps each partition to its end offset at that time; it is empty if
    Kafka was unreachable. `dump_sha256` is the hash of `database.dump` before encryption.
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


def write_backup(
    database_url: str, file: Path, *, release: str, topics: Mapping[str, int], recipient: Recipient | None = None
) -> Manifest:
    """Write a backup to `file`, encrypted if there is a recipient. The file appears only when it is complete.

    Only its owner can read it, because it contains password hashes. Raises DeployError.
    """
    suffix = ENCRYPTED_SUFFIX if recipient is not None else ""
    url = libpq_url(database_url)
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".backup-") as folder:
            dump, temporary_file = Path(folder) / DUMP, Path(folder) / file.name
            with _open_database(database_url) as db:
                manifest = _dump(db, url, dump, release, topics, recipient)
            os.close(os.open(temporary_file, os.O_CREAT | os.O_WRONLY, 0o600))
            with tarfile.open(temporary_file, "w") as tar:
                manifest_json = io.BytesIO(json.dumps({"version": VERSION, **manifest._asdict()}, indent=1).encode())
                manifest_entry = io.BytesIO()
                copy_encrypted(manifest_json, manifest_entry, recipient)
                _add_entry(tar, MANIFEST + suffix, manifest_entry.getvalue())
                tar.add(dump, DUMP + suffix, filter=_reset_ownership)
            temporary_file.replace(file)
    except OSError as error:
        raise DeployError(f"cannot write {file}: {error.strerror}") from error
    return manifest


def _dump(
    db: connection, url: str, dump: Path, release: str, topics: Mapping[str, int], recipient: Recipient | None
) -> Manifest:
    db.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with db.cursor() as cursor:
        cursor.execute("SELECT pg_export_snapshot(), current_setting('server_version')")
        [(snapshot, server)] = cursor.fetchall()
        tables = _row_counts(db)
        if _REVISION_TABLE not in tables:
            raise DeployError("nothing to back up: the database has no schema; run `python cli.py migrate`")
        cursor.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(_REVISION_TABLE)))
        [(revision,)] = cursor.fetchall()
        # The snapshot exists as long as this transaction.
        command = [str(binaries() / "pg_dump"), "--format=custom", "--no-owner", "--no-privileges"]
        command += [f"--snapshot={snapshot}", "--table=public.*"]
        with PipedProgram("pg_dump", command, _libpq_environment(url)) as dump_program, dump.open("wb") as dump_file:
            digest_stream = _DigestStream(dump_program.output)
            copy_encrypted(digest_stream, dump_file, recipient)
            dump_program.finish()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(
        now, release, revision, server, tables, dict(topics), digest_stream.bytes, digest_stream.digest.hexdigest()
    )


class _DigestStream:
    """Counts and hashes the bytes that are read from `source`, or written if there is no source."""

    def __init__(self, source: IO[bytes] | None = None) -> None:
        self._source, self.bytes, self.digest = source, 0, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        assert self._source is not None, "reading requires a source"
        block = self._source.read(size)
        self.write(block)
        return block

    def write(self, block: bytes) -> int:
        self.digest.update(block)
        self.bytes += len(block)
        return len(block)

    def flush(self) -> None:
        """Do nothing: nothing is buffered. Writers call it."""


def read_manifest(file: Path, identity: Identity | None = None) -> Manifest:
    """Verify a backup and return its manifest.

    Raises BadInput if an entry is damaged, the schema is of a newer release, or the key of an encrypted backup is
    missing or wrong.
    """
    try:
        with tarfile.open(file, "r:") as tar:
            manifest_json = io.BytesIO()
            _copy_entry(tar, MANIFEST, file, identity, manifest_json)
            tree = json.loads(manifest_json.getvalue())
            version = tree.pop("version", None)
            if version != VERSION:
                raise BadInput(f"{file}: entry {MANIFEST} has version {version!r}, expected {VERSION}")
            manifest = Manifest(**tree)
            if not all(isinstance(rows, int) for rows in manifest.tables.values()):
                raise BadInput(f"{file}: entry {MANIFEST} is damaged: the row count of each table must be an integer")
            digest_stream = _DigestStream()
            _copy_entry(tar, DUMP, file, identity, digest_stream)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror or error}") from error
    except tarfile.TarError as error:
        raise BadInput(f"{file} is not a backup or is damaged: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{file}: entry {MANIFEST} is damaged: {error}") from error
    if (digest := digest_stream.digest.hexdigest()) != manifest.dump_sha256:
        raise BadInput(
            f"{file}: entry {DUMP} is damaged: its SHA-256 starts with {digest[:12]}, expected "
            f"{manifest.dump_sha256[:12]} (manifest)"
        )
    if manifest.revision not in _known_revisions():
        raise BadInput(
            f"{file} has schema {manifest.revision}, which is unknown: restore it with the newer release that wrote it"
        )
    return manifest


def require_empty_database(database_url: str, *, force: bool) -> None:
    """Raises DeployError if the database has rows and `force` is false."""
    with _open_database(database_url) as db:
        non_empty = {name: rows for name, rows in _row_counts(db).items() if rows and name != _REVISION_TABLE}
    if non_empty and not force:
        name, rows = max(non_empty.items(), key=lambda item: item[1])
        raise DeployError(f"the database is not empty ({name} has {rows:,} rows); use --force to replace all its data")


def restore_backup(database_url: str, file: Path, *, force: bool, identity: Identity | None = None) -> Manifest:
    """Replace the content of the database by the backup, in one transaction. The schema is that of the backup.

    Migrate the database afterwards. Raises BadInput if the file is damaged or its schema is of a newer release, and
    DeployError if the database has rows without `force` or the restore fails.
    """
    manifest = read_manifest(file, identity)
    require_empty_database(database_url, force=force)
    url = libpq_url(database_url)
    with _open_database(database_url) as db:
        drop_sql = "".join(_table_statement(db, "DROP TABLE {} CASCADE;\n", name) for name in _row_counts(db))
        check_sql = "".join(_row_count_assertion(db, name, rows) for name, rows in manifest.tables.items())
    pg_restore = [str(binaries() / "pg_restore"), "--no-owner", "--file=-"]
    psql = [str(binaries() / "psql"), "--quiet", "--no-psqlrc", "--output=/dev/null", "--set=ON_ERROR_STOP=1"]
    with (
        tarfile.open(file, "r:") as tar,
        PipedProgram("psql", [*psql, "--file=-"], _libpq_environment(url)) as psql_program,
        PipedProgram("pg_restore", pg_restore, _libpq_environment(url)) as restore_program,
        restore_program.feed_input(lambda to: _copy_entry(tar, DUMP, file, identity, to)),
    ):
        # Only the last statement commits. If anything fails before it, the input of psql ends within the transaction,
        # and the database rolls it back.
        psql_program.write(f"BEGIN;\n{drop_sql}".encode())
        psql_program.copy(restore_program.output)
        restore_program.finish()
        # The backup sets search_path to empty, so the row counts use qualified names.
        psql_program.write(f"{check_sql}COMMIT;\n".encode())
        psql_program.finish()
    return manifest


@contextmanager
def _open_database(database_url: str) -> Iterator[connection]:
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as db:
            yield db
    except psycopg2.Error as error:
        raise DeployError(f"cannot read the database: {str(error).strip().splitlines()[0]}") from error


def extend_audit_chain(database_url: str) -> None:
    """Extend the audit chain of a restored database to the rows that were rebuilt from the topics.

    The links depend only on the records, so they equal those of the lost database.
    """
    with _open_database(database_url) as db, db.cursor() as cursor:
        audit.extend(cursor, {kind: list(stream_records(db, kind)) for kind in audit.AUDITED_TYPES}, backfill=True)
        db.commit()


def _row_counts(db: connection) -> dict[str, int]:
    """Count the rows of every table of the platform."""
    with db.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        counts = {}
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(name)))
            [(counts[name],)] = cursor.fetchall()
    return counts


def _table_statement(db: connection, statement: str, name: str) -> str:
    return sql.SQL(statement).format(sql.Identifier("public", name)).as_string(db)


def _row_count_assertion(db: connection, name: str, rows: int) -> str:
    """Return a statement that fails the transaction if the table does not have `rows` rows."""
    count = _table_statement(db, "SELECT count(*) FROM {}", name)
    message = f"table {name} does not have the {rows:d} rows of the manifest"
    return f"DO $$ BEGIN ASSERT ({count}) = {rows:d}, '{message}'; END $$;\n"


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    from sinks.database import MIGRATIONS

    return {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}


def _libpq_environment(url: str) -> dict[str, str]:
    """Return the environment that passes the address to a PostgreSQL program."""
    parts = parse_dsn(url)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "5"}
    return environment | {_LIBPQ_VARIABLES[key]: str(value) for key, value in parts.items() if key in _LIBPQ_VARIABLES}


def _copy_entry(tar: tarfile.TarFile, name: str, file: Path, identity: Identity | None, target: Any) -> None:
    """Copy the content of an entry to `target.write`, and decrypt it if necessary. Raises BadInput."""
    if name + ENCRYPTED_SUFFIX in tar.getnames():
        copy_decrypted(_open_entry(tar, name + ENCRYPTED_SUFFIX, file), target, identity, file)
    else:
        shutil.copyfileobj(_open_entry(tar, name, file), target, 1 << 20)


def _open_entry(tar: tarfile.TarFile, name: str, file: Path) -> Any:
    try:
        stream = tar.extractfile(name)
    except KeyError as error:
        raise BadInput(f"{file}: entry {name} is missing") from error
    if stream is None:
        raise BadInput(f"{file}: entry {name} is not a file")
    return stream


def _add_entry(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def _reset_ownership(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mode, info.uid, info.gid, info.uname, info.gname = 0o600, 0, 0, "", ""
    return info
