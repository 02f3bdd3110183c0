"""Write a backup of a whole platform: database, recovery stores, topics, models, and the settings and options."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.backup.archive import CHUNK_BYTES, ArchiveWriter
from deploy.backup.consistent_cut import export_topics, topics_before_database
from deploy.backup.database_tables import (
    DatabaseSummary,
    database_snapshot,
    require_existing_revision,
    summarize,
    write_tables,
)
from deploy.backup.encryption import ENCRYPTED_SUFFIX, copy_encrypted
from deploy.backup.manifest import (
    MANIFEST,
    SEAL,
    SETTINGS_ENTRY,
    SIGNING_ROOT_ENTRY,
    BackupManifest,
    TableContent,
    is_model_entry,
    store_entry,
)
from deploy.backup.recovery_stores import copied_stores
from deploy.backup.seal import seal
from deploy.backup.servers import PlatformServers
from deploy.backup.signing_root import sealed_root
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.platform_identity import PlatformIdentity, read_identities
from deploy.supervisor.start_options import load_options

if TYPE_CHECKING:
    from pyrage.x25519 import Recipient

    from configs.settings import Settings
    from deploy.supervisor.process_spec import ProgressCallback


def write_platform_backup(
    home: Home,
    services: PlatformServers,
    target: Path,
    *,
    release: str,
    key: str,
    recipient: Recipient | None,
    report: ProgressCallback,
) -> BackupManifest:
    """Write a backup to `target`, sealed with `key` and encrypted if there is a recipient.

    The file appears only when it is complete. Only its owner can read it, because it has password hashes. Raises
    DeployError if a part of the platform cannot be read.
    """
    settings = services.settings
    identity = _identity(home, settings)
    with _new_file(target) as file:
        archive = ArchiveWriter(file, recipient)
        stores = _add_stores(home, archive, report)
        before = topics_before_database(settings.kafka)
        report("reading the database")
        database, tables = _add_database(settings, archive)
        cut_ns, logs = export_topics(
            settings.kafka,
            archive,
            before,
            is_running=services.is_running,
            newest_ns=database.newest_ns,
            report=report,
        )
        if _identity(home, settings) != identity:
            raise DeployError("the platform was restored while it was backed up; run `python cli.py backup` again")
        options, settings_sha256 = _add_settings(home, archive)
        _add_models(settings, home, archive)
        root = sealed_root(home, key)
        if root is not None:
            archive.add(SIGNING_ROOT_ENTRY, root)
        manifest = BackupManifest(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            release=release,
            revision=database.revision,
            server=database.server,
            identity=identity,
            cut_ns=cut_ns,
            tables=tables,
            logs=logs,
            stores=stores,
            options=options,
            settings_sha256=settings_sha256,
            entries=dict(archive.entries),
        )
        _add_sealed_manifest(archive, manifest, key, recipient)
        archive.finish()
    return manifest


def _add_sealed_manifest(
    archive: ArchiveWriter, manifest: BackupManifest, key: str, recipient: Recipient | None
) -> None:
    """Add the manifest and its seal. The seal covers the manifest as it is stored, encrypted or not."""
    stored = io.BytesIO()
    copy_encrypted(io.BytesIO(manifest.to_json()), stored, recipient)
    archive.add_plain(MANIFEST + (ENCRYPTED_SUFFIX if recipient is not None else ""), stored.getvalue())
    archive.add_plain(SEAL, seal(stored.getvalue(), key))


def _identity(home: Home, settings: Settings) -> PlatformIdentity:
    """Return the identity of the platform. Raises DeployError if its parts do not belong together."""
    identities = read_identities(home, settings)
    recorded = identities.present()
    if identities.missing():
        raise DeployError(
            f"no platform identity in {' and '.join(identities.missing())}; start the platform once with this "
            "release (`python cli.py start`), then back it up"
        )
    distinct = {(identity.platform_id, identity.epoch) for identity in recorded.values()}
    if len(distinct) > 1:
        places = ", ".join(f"{place}: {i.platform_id} epoch {i.epoch}" for place, i in recorded.items())
        raise DeployError(f"folder, database and topics belong to different platforms ({places}); see `start`")
    identity = next(iter(recorded.values()))
    if identity.substitute:
        raise DeployError("the topics of the in-memory substitute for Kafka cannot be backed up; use a real Kafka")
    return identity


@contextmanager
def _new_file(target: Path) -> Iterator[Any]:
    """Yield a temporary file that only its owner can read, and rename it to `target` at the end."""
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as folder:
            path = Path(folder) / target.name
            with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600), "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            path.replace(target)
    except OSError as error:
        raise DeployError(f"cannot write {target}: {error.strerror or error}") from error


def _add_stores(home: Home, archive: ArchiveWriter, report: ProgressCallback) -> tuple[str, ...]:
    report("copying the recovery stores")
    with copied_stores(home) as copies:
        for name, folder in copies.items():
            for part in sorted(folder.glob("part-*.sqlite3")):
                _add_file(archive, store_entry(name, part.name), part)
    return tuple(copies)


def _add_database(settings: Settings, archive: ArchiveWriter) -> tuple[DatabaseSummary, dict[str, TableContent]]:
    """Add all tables, as of one moment."""
    with database_snapshot(settings.database.postgres.url) as db:
        database = summarize(db)
        require_existing_revision(database.revision, "the database")
        return database, write_tables(db, archive)


def _add_file(archive: ArchiveWriter, name: str, path: Path) -> None:
    with archive.entry(name) as write, path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            write(chunk)


def _add_settings(home: Home, archive: ArchiveWriter) -> tuple[dict[str, Any], str]:
    """Add the settings file of the last start. Returns its options and the hash of the file, "" without one."""
    options = load_options(home)
    if options.settings is None:
        return _as_json(asdict(options)), ""
    try:
        content = Path(options.settings).read_bytes()
    except OSError as error:
        raise DeployError(
            f"cannot read the settings file of the last start, {options.settings}: {error.strerror}"
        ) from error
    archive.add(SETTINGS_ENTRY, content)
    return _as_json(asdict(options)), hashlib.sha256(content).hexdigest()


def _as_json(options: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(json.dumps(options))
    return tree


def _add_models(settings: Settings, home: Home, archive: ArchiveWriter) -> None:
    """Add the registered models of the state folder, without which `predictions` cannot resume."""
    folder = home.root / "models"
    if settings.predictions.registry is None or Path(settings.predictions.registry) != folder or not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = f"models/{path.relative_to(folder).as_posix()}.zst"
            if not is_model_entry(name):
                raise DeployError(f"{path} has a name that a backup cannot hold; rename it, or move it elsewhere")
            _add_file(archive, name, path)
