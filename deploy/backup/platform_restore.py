"""Restore a whole platform from a backup, so that it continues from the moment of the backup.

Everything in the file is verified before anything changes. A restore that fails changes nothing. The identity's epoch
rises by one, so that parts of the state from before the restore are recognized.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dataflows.runtime.topology import COMPACT, EDGE_SERVICES, Layout
from deploy.backup.archive import ArchiveReader, ChunkReader
from deploy.backup.database_tables import (
    emptied_database,
    loading,
    open_database,
    require_empty_database,
    require_existing_revision,
)
from deploy.backup.manifest import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    SEAL,
    SEAL_BYTES_MAX,
    SETTINGS_ENTRY,
    SIGNING_ROOT_ENTRY,
    BackupManifest,
    accepted_topics,
    is_model_entry,
    log_entry,
    parse_manifest,
    store_entry,
    table_entry,
)
from deploy.backup.replaced_state import replaced_state, require_no_state, undo_interrupted_restore
from deploy.backup.seal import require_seal
from deploy.backup.servers import (
    DATABASE_VARIABLE,
    KAFKA_VARIABLE,
    require_no_leftover_processes,
    started_servers,
    store_in_use,
)
from deploy.backup.signing_root import open_root, replace_keys
from deploy.backup.topic_messages import LogReader, LogWriter, unpack
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.recorded_topics import platform_settings, require_kafka, supervisor_lock
from deploy.supervisor.layout import write_layout
from deploy.supervisor.migrate import migrate
from deploy.supervisor.platform_identity import TOPIC as IDENTITY_TOPIC
from deploy.supervisor.platform_identity import (
    PlatformIdentity,
    read_cluster_id,
    read_database_identity,
    read_folder_identity,
    read_topic_identity,
    restored_identity,
    write_identities,
)
from deploy.supervisor.start_options import StartOptions, save_options
from deploy.supervisor.state import replace_file, running_state
from deploy.supervisor.topics import create_topics, platform_topics
from schemas.codec import encode
from schemas.errors import BadInput
from sinks.admin_operations import delete_topics

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

    from configs.settings import Settings
    from deploy.supervisor.process_spec import ProgressCallback
    from sinks.signing_keys import PrivateKey

RESTORED_SETTINGS = "restored-settings.yaml"
_ADMIN_TIMEOUT_S = 30.0


class RestoreSummary(NamedTuple):
    """`old_state`: the folder with the previous state; `old_schema`: the database schema with the previous tables."""

    identity: PlatformIdentity
    old_state: Path | None
    old_schema: str


def read_sealed_manifest(archive: ArchiveReader, key: str | None, identity: Identity | None) -> BackupManifest:
    """Verify seal, names and all hashes of a backup, and return its manifest. Raises BadInput.

    The seal covers the manifest as it is stored, so that nothing is decrypted or parsed before it is authenticated.
    """
    if SEAL not in archive.entries:
        raise BadInput(f"{archive.path}: entry {SEAL} is missing, so the backup is not sealed")
    stored = archive.read_stored(MANIFEST, MANIFEST_BYTES_MAX)
    require_seal(stored, archive.read_stored(SEAL, SEAL_BYTES_MAX), key, archive.path)
    content = io.BytesIO()
    archive.decrypt(MANIFEST, content, identity)
    manifest = parse_manifest(content.getvalue(), archive.path)
    for name, entry in manifest.entries.items():
        archive.require_hash(name, entry)
    listed = {archive.stored_name(name) for name in (*manifest.entries, MANIFEST)} | {SEAL}
    if unlisted := sorted(archive.entries.keys() - listed):
        raise BadInput(f"{archive.path}: entry {unlisted[0][:80]!r} is not in the manifest")
    require_existing_revision(manifest.revision, archive.path)
    return manifest


def restore_platform(
    home: Home,
    archive: ArchiveReader,
    manifest: BackupManifest,
    identity: Identity | None,
    *,
    key: str | None,
    force: bool,
    report: ProgressCallback,
) -> RestoreSummary:
    """Restore all parts of a verified backup into a stopped platform. Raises BadInput and DeployError.

    `key` sealed the backup, and encrypts the root key of signed commands. With `force`, existing state moves to a dated
    folder, and the tables of an external database to a dated schema.
    Topics of an external Kafka must not exist or be empty.
    """
    state = running_state(home)
    if state is not None:
        raise DeployError(
            f"the platform is running as pid {state.supervisor_pid}; stop it with `python cli.py stop`, then restore"
        )
    require_no_leftover_processes(home)
    root = _signing_root(archive, manifest, identity, key)
    home.create_folders()
    with supervisor_lock(home):
        if (in_use := store_in_use(home)) is not None:
            raise DeployError(in_use)
        undo_interrupted_restore(home)
        require_no_state(home, force=force)
        _require_usable_servers(home, manifest, force=force)
        before = read_folder_identity(home)
        with replaced_state(home) as old_state:
            _write_options(home, archive, manifest, identity)
            with started_servers(home, report) as settings:
                restored = _next_identity(manifest.identity, before, settings)
                with _imported_topics(settings, archive, manifest, identity, report):
                    url = settings.database.postgres.url
                    with emptied_database(url) as old_schema:
                        report("loading the database")
                        load_tables(url, archive, manifest, identity)
                        migrate(url)
                        _write_stores(home, archive, manifest, identity)
                        _write_models(home, archive, manifest, identity)
                        if restored.broker != "simulated":
                            _block_orders_until_reconciled(settings, manifest)
                        _forget_latest_values()
                        write_identities(home, settings, restored)
                        replace_keys(home, root)
    return RestoreSummary(restored, old_state, old_schema)


def _signing_root(
    archive: ArchiveReader, manifest: BackupManifest, identity: Identity | None, key: str | None
) -> PrivateKey | None:
    """Return the root key of signed commands; None if the platform of the backup had none. Raises BadInput."""
    if SIGNING_ROOT_ENTRY not in manifest.entries or key is None:
        return None
    content = b"".join(archive.chunks(SIGNING_ROOT_ENTRY, manifest.entries[SIGNING_ROOT_ENTRY], identity))
    return open_root(content, key, archive.path)


def _require_usable_servers(home: Home, manifest: BackupManifest, *, force: bool) -> None:
    """Check servers whose address is in the environment. Raises DeployError if they hold another platform."""
    if os.environ.get(KAFKA_VARIABLE):
        kafka = platform_settings(home, {}).kafka
        require_kafka(kafka.cluster)
        found = read_topic_identity(kafka.cluster, kafka.topic_prefix)
        if found is not None and found.platform_id != manifest.identity.platform_id:
            raise DeployError(
                f"Kafka at {kafka.cluster} holds the topics of platform {found.platform_id}, but the backup "
                f"belongs to platform {manifest.identity.platform_id}; use another Kafka, or another kafka.topic_prefix"
            )
        with closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
            existing = reader.existing_topics()
            for topic, partitions in accepted_topics().items():
                for partition in range(partitions if topic in existing else 0):
                    if reader.offsets(topic, partition).end:
                        raise DeployError(
                            f"topic {kafka.topic_prefix}{topic} at {kafka.cluster} is not empty, and messages cannot "
                            "be moved; delete the platform's topics, or use another Kafka or kafka.topic_prefix"
                        )
    if url := os.environ.get(DATABASE_VARIABLE):
        found = read_database_identity(url)
        if found is not None and found.platform_id != manifest.identity.platform_id and not force:
            raise DeployError(
                f"the database belongs to platform {found.platform_id}, but the backup belongs to platform "
                f"{manifest.identity.platform_id}; use another database"
            )
        require_empty_database(url, force=force)


def _next_identity(
    backed_up: PlatformIdentity, before: PlatformIdentity | None, settings: Settings
) -> PlatformIdentity:
    """Return the identity after the restore. Its epoch is above that of the backup and of the replaced state."""
    restored = restored_identity(backed_up, read_cluster_id(settings.kafka.cluster))
    restored = replace(restored, topic_prefix=settings.kafka.topic_prefix)
    if before is not None and before.platform_id == restored.platform_id:
        restored = replace(restored, epoch=max(restored.epoch, before.epoch + 1))
    return restored


def _write_options(home: Home, archive: ArchiveReader, manifest: BackupManifest, identity: Identity | None) -> None:
    """Store the options of `start`, and the settings file under a name of its own."""
    fields = {name: manifest.options[name] for name in StartOptions.__dataclass_fields__ if name in manifest.options}
    options = StartOptions(**{**fields, "bars": tuple(fields.get("bars") or ())})
    if manifest.settings_sha256:
        content = b"".join(archive.chunks(SETTINGS_ENTRY, manifest.entries[SETTINGS_ENTRY], identity))
        if hashlib.sha256(content).hexdigest() != manifest.settings_sha256:
            raise BadInput(f"{archive.path}: entry {SETTINGS_ENTRY} does not have the hash of the manifest")
        path = home.root / f"{manifest.settings_sha256[:12]}-{RESTORED_SETTINGS}"
        replace_file(path, content.decode(), mode=0o600)
        options = replace(options, settings=str(path))
    save_options(home, options)


@contextmanager
def _imported_topics(
    settings: Settings,
    archive: ArchiveReader,
    manifest: BackupManifest,
    identity: Identity | None,
    report: ProgressCallback,
) -> Iterator[None]:
    """Create and fill the topics. If that or the block fails, the topics are deleted again: they were empty."""
    kafka = settings.kafka
    specs = platform_topics(kafka.topic_prefix)
    try:
        create_topics(kafka.cluster, specs, replication=kafka.replication)
        with closing(LogWriter(kafka.cluster, kafka.topic_prefix)) as writer:
            for (topic, partition), content in manifest.logs.items():
                report(f"writing topic {topic}/{partition}")
                name = log_entry(topic, partition)
                messages = unpack(archive.chunks(name, manifest.entries[name], identity), name)
                writer.fill(topic, partition, content, messages)
        yield
    except BaseException:
        delete_topics(kafka.cluster, [*(spec.name for spec in specs), kafka.topic_prefix + IDENTITY_TOPIC])
        raise


def load_tables(url: str, archive: ArchiveReader, manifest: BackupManifest, identity: Identity | None) -> None:
    """Create the schema of the backup in an empty database and load its rows. Raises BadInput and DeployError."""
    migrate(url, manifest.revision)
    with open_database(url) as db, loading(db, manifest.tables) as loader:
        for table, content in manifest.tables.items():
            name = table_entry(table)
            chunks = archive.chunks(name, manifest.entries[name], identity)
            loader.load(table, content.columns, io.BufferedReader(ChunkReader(chunks)))


def _write_stores(home: Home, archive: ArchiveReader, manifest: BackupManifest, identity: Identity | None) -> None:
    for store in manifest.stores:
        prefix = store_entry(store, "").removesuffix(".zst")
        parts = [name for name in manifest.entries if name.startswith(prefix)]
        if not parts:
            raise BadInput(f"{archive.path} has no recovery store of {store}")
        for name in parts:
            _write_file(
                home.recovery / store / name.removeprefix(prefix).removesuffix(".zst"),
                archive,
                manifest,
                name,
                identity,
            )
    if COMPACT in manifest.stores:
        write_layout(home, Layout.COMPACT, [name for name in EDGE_SERVICES if name in manifest.stores])
    else:
        write_layout(home, Layout.SERVICES)


def _write_models(home: Home, archive: ArchiveReader, manifest: BackupManifest, identity: Identity | None) -> None:
    for name in manifest.entries:
        if is_model_entry(name):
            _write_file(home.root / name.removesuffix(".zst"), archive, manifest, name, identity)


def _write_file(
    path: Path, archive: ArchiveReader, manifest: BackupManifest, name: str, identity: Identity | None
) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for chunk in archive.chunks(name, manifest.entries[name], identity):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DeployError(f"cannot write {path}: {error.strerror}") from error


def _forget_latest_values() -> None:
    """Delete the latest values in an external Redis: values of the replaced history have a higher `seq` and would stay.

    The embedded Redis moves aside with the state.
    """
    import redis

    url = os.environ.get("REDIS_URL")
    if not url:
        return
    try:
        with redis.Redis.from_url(url, socket_timeout=_ADMIN_TIMEOUT_S, socket_connect_timeout=5) as client:
            for key in client.scan_iter("latest:*", count=1000):
                client.delete(key)
    except (redis.RedisError, ValueError) as error:
        raise DeployError(f"cannot delete the latest values in Redis: {type(error).__name__}") from error


def _block_orders_until_reconciled(settings: Settings, manifest: BackupManifest) -> None:
    """Tell the gateway, by a record, that its books are not reconciled with the broker.

    Risk rejects every order until the broker's account, as the gateway reads it after the start, matches the restored
    books.
    """
    from dataflows.broker.updates import gateway_update
    from schemas.records import DISCONNECTED
    from sinks.kafka import producer

    kafka = settings.kafka
    text = f"restored from the backup of {manifest.created_at}; waiting for the broker's account"
    writer = producer(kafka.cluster)
    writer.produce(
        kafka.topic_prefix + "broker-updates", encode(gateway_update(DISCONNECTED, time.time_ns(), text)), None, 0
    )
    if writer.flush(_ADMIN_TIMEOUT_S):
        raise DeployError(f"cannot write topic {kafka.topic_prefix}broker-updates: no response from Kafka")
