"""Restore the database from a backup of release 0.1.0 or 0.2.0: a tar of `manifest.json` and `database.dump`.

Such a backup holds the database alone, and it has no seal. `pg_restore` only unpacks the dump. Of its output, the rows
of known tables are copied into a schema that the migrations made; no other line is used, and none is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from deploy.backup.archive import ArchiveReader
from deploy.backup.database_tables import (
    REVISION_TABLE,
    TableLoader,
    loading,
    open_database,
    require_existing_revision,
)
from deploy.backup.manifest import MANIFEST, MANIFEST_BYTES_MAX, TableContent, accepted_tables
from deploy.backup.subprocess_io import StreamedProgram
from deploy.local.postgres import binaries
from deploy.supervisor.migrate import migrate
from schemas.errors import BadInput

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

VERSION = 1
DUMP = "database.dump"
_COPY_LINE = re.compile(r"COPY public\.([a-z0-9_]+) \(([a-z0-9_\", ]+)\) FROM stdin;\n")
_END_OF_ROWS = b"\\.\n"
_LINE_BYTES_MAX = 1 << 16


class DumpManifest(NamedTuple):
    """Describes a backup of the database alone. `topics`: end offset by partition. `dump_sha256`: before encryption."""

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


def read_dump_manifest(archive: ArchiveReader, identity: Identity | None) -> DumpManifest:
    """Verify a backup against its own manifest and return it.

    The manifest is not authenticated. Raises BadInput if the backup is damaged or has unknown tables or columns.
    """
    file, manifest_json = archive.path, io.BytesIO()
    archive.read_stored(MANIFEST, MANIFEST_BYTES_MAX)
    archive.decrypt(MANIFEST, manifest_json, identity)
    try:
        tree = json.loads(manifest_json.getvalue())
        version = tree.pop("version", None)
        manifest = DumpManifest(**tree)
        if not all(type(rows) is int and rows >= 0 for rows in manifest.tables.values()):
            raise ValueError("the row count of each table must be an integer")
        if unknown := sorted(manifest.tables.keys() - accepted_tables() - {REVISION_TABLE}):
            raise ValueError(f"unknown table {unknown[0][:80]!r}")
        if not all(isinstance(text, str) for text in (manifest.revision, manifest.dump_sha256, manifest.created_at)):
            raise ValueError("revision, dump_sha256 and created_at must be text")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{file}: entry {MANIFEST} is damaged: {error}") from error
    if version != VERSION:
        raise BadInput(f"{file}: entry {MANIFEST} has version {version!r}, expected {VERSION}")
    digest = _Digest()
    archive.decrypt(DUMP, digest, identity)
    if digest.hexdigest() != manifest.dump_sha256:
        raise BadInput(
            f"{file}: entry {DUMP} is damaged: its SHA-256 starts with {digest.hexdigest()[:12]}, expected "
            f"{manifest.dump_sha256[:12]} (manifest)"
        )
    require_existing_revision(manifest.revision, file)
    return manifest


class _Digest:
    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def write(self, block: bytes) -> int:
        self._digest.update(block)
        return len(block)

    def flush(self) -> None:
        """Do nothing: nothing is buffered. Writers call it."""

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def load_dump(database_url: str, archive: ArchiveReader, manifest: DumpManifest, identity: Identity | None) -> None:
    """Create the schema of the backup in an empty database and load its rows. Raises BadInput and DeployError."""
    migrate(database_url, manifest.revision)
    contents = {name: TableContent(rows, ()) for name, rows in manifest.tables.items() if name != REVISION_TABLE}
    with open_database(database_url) as db, loading(db, contents) as loader:
        _copy_rows(archive, identity, loader, contents)


def _copy_rows(
    archive: ArchiveReader, identity: Identity | None, loader: TableLoader, contents: Mapping[str, TableContent]
) -> None:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    command = [str(binaries() / "pg_restore"), "--data-only", "--file=-"]

    def feed(target: IO[bytes]) -> None:
        archive.decrypt(DUMP, target, identity)

    with StreamedProgram("pg_restore", command, environment) as program, program.feed_input(feed):
        output = io.BufferedReader(program.output)  # type: ignore[type-var]
        while line := output.readline(_LINE_BYTES_MAX):
            copy = _COPY_LINE.fullmatch(line.decode(errors="replace"))
            if copy is None:
                continue
            table, columns = copy[1], tuple(name.strip('" ') for name in copy[2].split(","))
            rows = _Rows(output)
            if table in contents:
                loader.load(table, columns, rows)
            else:
                rows.skip()
        program.finish()


class _Rows:
    """The lines of one COPY block as a file."""

    def __init__(self, lines: Any) -> None:
        self._lines, self._at_line_start, self._ended = lines, True, False

    def read(self, size: int = _LINE_BYTES_MAX) -> bytes:
        if self._ended:
            return b""
        line: bytes = self._lines.readline(max(1, size))
        if not line or (self._at_line_start and line == _END_OF_ROWS):
            self._ended = True
            return b""
        self._at_line_start = line.endswith(b"\n")
        return line

    def skip(self) -> None:
        while self.read():
            pass
