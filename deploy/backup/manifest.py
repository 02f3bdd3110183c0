"""The manifest of a backup: what the backup contains, from which platform, and the hash of every entry.

A manifest is used only after its seal has been verified. Its names are then compared with the tables, topics and
services that this release knows, so that no other name reaches a statement or a path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.backup.archive import EntryInfo
from deploy.errors import DeployError
from deploy.supervisor.platform_identity import PlatformIdentity
from schemas.errors import BadInput

VERSION = 2
MANIFEST, SEAL = "manifest.json", "manifest.mac"
SETTINGS_ENTRY = "settings.yaml"
SIGNING_ROOT_ENTRY = "signing-root.key"
MANIFEST_BYTES_MAX, SEAL_BYTES_MAX = 16 << 20, 1 << 10
_COLUMN_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,62}")
_STORE_PATTERN = re.compile(r"([a-z_]+)(/[1-9][0-9]*of[1-9][0-9]*)?")
_COMPONENT_PATTERN = re.compile(r"part-[0-9]{1,4}\.sqlite3")
_MODEL_PATTERN = re.compile(r"models(/[A-Za-z0-9_@+=-][A-Za-z0-9._@+=-]{0,127}){1,6}")


@dataclass(frozen=True)
class TableContent:
    """The rows of a table, and the columns in the order of the entry."""

    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class LogContent:
    """The offsets of one partition: the first message, and the one after the last."""

    start: int
    end: int


@dataclass(frozen=True)
class BackupManifest:
    """Describes a backup.

    `cut_ns` is the clock at which all topics end; None if the platform was stopped and the topics are complete.
    `tables` is by name, `logs` by (topic, partition), `stores` by service or `service/1of3`. `options` are those of
    `start`. `settings_sha256` is the hash of the settings file, "" without one. `entries` is by name.
    """

    created_at: str
    release: str
    revision: str
    server: str
    identity: PlatformIdentity
    cut_ns: int | None
    tables: dict[str, TableContent]
    logs: dict[tuple[str, int], LogContent]
    stores: tuple[str, ...]
    options: dict[str, Any]
    settings_sha256: str
    entries: dict[str, EntryInfo]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    @property
    def messages(self) -> int:
        return sum(log.end - log.start for log in self.logs.values())

    def to_json(self) -> bytes:
        tree = {
            "version": VERSION,
            **asdict(self),
            "logs": {f"{topic}/{partition}": asdict(log) for (topic, partition), log in self.logs.items()},
            "entries": {name: entry._asdict() for name, entry in self.entries.items()},
        }
        return json.dumps(tree, indent=1, sort_keys=True).encode()

    def summary(self) -> dict[str, Any]:
        """Return the manifest for `--json`: tables with their rows, topics with their end offsets."""
        return {
            "created_at": self.created_at,
            "release": self.release,
            "revision": self.revision,
            "server": self.server,
            "tables": {name: table.rows for name, table in self.tables.items()},
            "topics": {f"{topic}/{partition}": log.end for (topic, partition), log in self.logs.items()},
            "stores": list(self.stores),
            "platform_id": self.identity.platform_id,
            "epoch": self.identity.epoch,
            "cut_ns": self.cut_ns,
            "options": self.options,
            "settings_sha256": self.settings_sha256,
        }


def table_entry(table: str) -> str:
    return f"database/{table}.copy.zst"


def log_entry(topic: str, partition: int) -> str:
    return f"topics/{topic}/{partition}.zst"


def store_entry(store: str, component: str) -> str:
    return f"recovery/{store}/{component}.zst"


def manifest_version(content: bytes, file: Path) -> int:
    """Return the version of a manifest. Raises BadInput if it is not a manifest."""
    try:
        version = json.loads(content)["version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(f"{file}: entry {MANIFEST} is damaged: {error}") from error
    if version not in (1, VERSION):
        raise BadInput(f"{file}: entry {MANIFEST} has version {version!r}, expected 1 or {VERSION}")
    return int(version)


def parse_manifest(content: bytes, file: Path) -> BackupManifest:
    """Parse a manifest. Raises BadInput if it is malformed or an unknown name is in it."""
    try:
        tree = json.loads(content)
        tree.pop("version")
        identity = PlatformIdentity.from_json(json.dumps(tree.pop("identity")), str(file))
        tables = {
            name: TableContent(int(table["rows"]), tuple(map(str, table["columns"])))
            for name, table in tree.pop("tables").items()
        }
        logs = {_parse_log(name): LogContent(**log) for name, log in tree.pop("logs").items()}
        entries = {name: EntryInfo(**entry) for name, entry in tree.pop("entries").items()}
        stores = tuple(map(str, tree.pop("stores")))
        manifest = BackupManifest(identity=identity, tables=tables, logs=logs, entries=entries, stores=stores, **tree)
        _require_accepted_names(manifest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DeployError) as error:
        raise BadInput(f"{file}: entry {MANIFEST} is damaged: {error}") from error
    return manifest


def _parse_log(name: str) -> tuple[str, int]:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)


def _require_accepted_names(manifest: BackupManifest) -> None:
    """Raises ValueError at the first table, column, topic, service or entry that this release does not know."""
    tables, topics, services = accepted_tables(), accepted_topics(), accepted_services()
    for name, table in manifest.tables.items():
        _require(name in tables, "table", name)
        for column in table.columns:
            _require(_COLUMN_PATTERN.fullmatch(column) is not None, f"column of table {name}", column)
    for topic, partition in manifest.logs:
        _require(topic in topics and 0 <= partition < topics[topic], "topic", f"{topic}/{partition}")
        log = manifest.logs[topic, partition]
        _require(0 <= log.start <= log.end, f"offsets of {topic}/{partition}", f"{log.start} to {log.end}")
    for store in manifest.stores:
        match = _STORE_PATTERN.fullmatch(store)
        _require(match is not None and match[1] in services, "recovery store", store)
    expected = {table_entry(name) for name in manifest.tables} | {log_entry(*log) for log in manifest.logs}
    optional = (SETTINGS_ENTRY, SIGNING_ROOT_ENTRY)
    for name in manifest.entries:
        is_accepted = name in expected or name in optional or _is_store_entry(name, manifest.stores)
        _require(is_accepted or is_model_entry(name), "entry", name)
    for name in expected:
        _require(name in manifest.entries, "missing entry", name)


def _require(is_accepted: bool, kind: str, name: str) -> None:
    if not is_accepted:
        raise ValueError(f"unknown {kind} {name[:80]!r}")


def _is_store_entry(name: str, stores: Iterable[str]) -> bool:
    return any(
        name.startswith(f"recovery/{store}/")
        and _COMPONENT_PATTERN.fullmatch(name.removeprefix(f"recovery/{store}/").removesuffix(".zst")) is not None
        for store in stores
    )


def is_model_entry(name: str) -> bool:
    return name.endswith(".zst") and _MODEL_PATTERN.fullmatch(name) is not None


def accepted_tables() -> set[str]:
    """Return the names of the platform's tables."""
    import sinks.accounts
    import sinks.alerts
    import sinks.archived_partitions
    import sinks.audit_tables
    import sinks.platform_identity
    from sinks.tables import metadata

    # All modules share one metadata. Naming one table of each ensures that they are imported.
    audit, identity = sinks.audit_tables.chain, sinks.platform_identity.platform_identity
    archived = sinks.archived_partitions.archived_partitions
    tables = (sinks.accounts.users, sinks.alerts.alerts, archived, audit, identity)
    assert all(table.metadata is metadata for table in tables), "the platform's tables have one metadata"
    return set(metadata.tables)


def accepted_topics() -> dict[str, int]:
    """Return the number of partitions of each of the platform's topics, by name without prefix."""
    from deploy.supervisor.topics import read_topics

    return {topic.name: topic.partitions for topic in read_topics()}


def accepted_services() -> set[str]:
    from dataflows.runtime.topology import COMPACT
    from deploy.supervisor.process_spec import DATAFLOW_NAMES

    return {*DATAFLOW_NAMES, COMPACT}
