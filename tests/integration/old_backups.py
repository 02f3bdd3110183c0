"""Write backups as releases 0.1.0 and 0.2.0 did: `manifest.json` and a dump of the database, without a seal."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pyrage
from pyrage.x25519 import Recipient

from deploy.local.postgres import binaries
from sinks.partitions import is_partition_name


def write_old_backup(
    url: str, file: Path, *, dump: bytes | None = None, recipient: Recipient | None = None, **changes: Any
) -> dict[str, Any]:
    """Write a backup and return its manifest. `dump` replaces the dump, `changes` are merged into the manifest."""
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        # The dump and the counts see one snapshot, because a running platform writes meanwhile.
        db.set_session(isolation_level="REPEATABLE READ", readonly=True)
        cursor.execute("SELECT pg_export_snapshot()")
        [(snapshot,)] = cursor.fetchall()
        if dump is None:
            command = [str(binaries() / "pg_dump"), "--format=custom", "--no-owner", "--table=public.*"]
            command.append("--load-via-partition-root")  # those releases had no partitions
            command += [f"--snapshot={snapshot}", url]
            dump = subprocess.run(command, capture_output=True, check=True).stdout
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = {}
        for name in (name for (name,) in cursor.fetchall() if not is_partition_name(name)):
            cursor.execute(f"SELECT count(*) FROM {name}")  # noqa: S608 - names out of the catalog
            [(tables[name],)] = cursor.fetchall()
        cursor.execute("SELECT version_num FROM alembic_version")
        [(revision,)] = cursor.fetchall()
    manifest = {
        "version": 1,
        "created_at": "2026-01-01T00:00:00+00:00",
        "release": "0.2.0",
        "revision": revision,
        "server": "17",
        "tables": tables,
        "topics": {"orders/0": 7},
        "dump_bytes": len(dump),
        "dump_sha256": hashlib.sha256(dump).hexdigest(),
    }
    manifest |= {name: value for name, value in changes.items() if not isinstance(value, Mapping)}
    for name, value in changes.items():
        if isinstance(value, Mapping):
            manifest[name] = {**manifest[name], **value}
    with tarfile.open(file, "w") as tar:
        for name, content in (("manifest.json", json.dumps(manifest).encode()), ("database.dump", dump)):
            stored = content if recipient is None else pyrage.encrypt(content, [recipient])
            info = tarfile.TarInfo(name if recipient is None else f"{name}.age")
            info.size, info.mtime = len(stored), 1.5  # a fraction of a second needs an extended header
            tar.addfile(info, io.BytesIO(stored))
    return manifest
