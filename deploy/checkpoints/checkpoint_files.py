"""The folder of a sealed checkpoint: one file per shard, the undelivered records, and a manifest with all hashes.

The folder is written under a temporary name and renamed when it is complete, so that a checkpoint is sealed or does not
exist. The manifest contains the SHA-256 and the size of every file, and of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from dataflows.replay.checkpoint_states import CheckpointState, require_all_shards
from dataflows.runtime.checkpoint_parts import is_checkpoint_id, write_durably
from deploy.errors import DeployError
from deploy.recovery.recovery_store import load_plain
from schemas.errors import BadInput

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
PENDING: Final = "pending.state"
SEALING_PREFIX: Final = ".sealing-"
_SUFFIX: Final = ".state"


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint contains, and to which platform it belongs.

    `created_ns` is the wall clock. `outputs` are offsets after the time slice, by "topic/partition". `books` is a
    SHA-256 of cash, profit, fees and all lots (`books.py`). `audit_heads` are the heads of the audit chains when the
    checkpoint was sealed. `parts` are [SHA-256, bytes] by file name. `state_version` is that of the compact process.
    """

    checkpoint_id: str
    slice_ns: int
    created_ns: int
    actor: str
    reason: str
    release: str
    layout: str
    platform_id: str
    epoch: int
    topic_prefix: str
    symbol_partitions: int
    books: str
    audit_heads: tuple[tuple[str, int, str], ...]
    outputs: dict[str, int]
    parts: dict[str, tuple[str, int]]
    state_version: int
    format: int = FORMAT
    sha256: str = ""

    def with_hash(self) -> Manifest:
        """Return the manifest with the SHA-256 of its other fields."""
        text = json.dumps(asdict(replace(self, sha256="")), sort_keys=True, separators=(",", ":"))
        return replace(self, sha256=hashlib.sha256(text.encode()).hexdigest())

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(size for _, size in self.parts.values())


def seal(folder: Path, manifest: Manifest, state: CheckpointState) -> Manifest:
    """Write a checkpoint into the folder of all checkpoints. Return its manifest with the parts. Raises OSError."""
    version, _, services, pending = state.compact
    sealing = folder / f"{SEALING_PREFIX}{state.checkpoint_id}"
    shutil.rmtree(sealing, ignore_errors=True)
    sealing.mkdir(mode=0o700, parents=True)
    contents = {f"{service}-{shard}{_SUFFIX}": one for service in services for shard, one in services[service].items()}
    parts: dict[str, tuple[str, int]] = {}
    for name, content in (contents | {PENDING: pending}).items():
        data = pickle.dumps(content, protocol=5)
        write_durably(sealing / name, data)
        parts[name] = (hashlib.sha256(data).hexdigest(), len(data))
    outputs = {f"{topic}/{partition}": offset for (topic, partition), offset in state.outputs.items()}
    sealed = replace(manifest, parts=parts, outputs=outputs, state_version=version).with_hash()
    write_durably(sealing / MANIFEST, json.dumps(asdict(sealed), indent=1).encode())
    _sync(sealing)
    sealing.rename(folder / state.checkpoint_id)
    _sync(folder)
    return sealed


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoint_ids(folder: Path) -> list[str]:
    """Return the ids of all sealed checkpoints, in the order of their ids, which begin with their time."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if is_checkpoint_id(path.name) and path.is_dir())


def read_manifest(folder: Path, checkpoint_id: str) -> Manifest:
    """Return the manifest of a checkpoint, and compare it with its own hash. Raises DeployError."""
    path = folder / checkpoint_id / MANIFEST
    try:
        tree = json.loads(path.read_bytes())
        if tree.get("format") != FORMAT:
            raise DeployError(f"{checkpoint_id} has format {tree.get('format')!r}, this release reads {FORMAT}")
        heads = tuple((str(topic), int(position), str(head)) for topic, position, head in tree.pop("audit_heads"))
        parts = {name: (str(sha256), int(size)) for name, (sha256, size) in tree.pop("parts").items()}
        manifest = Manifest(**tree, audit_heads=heads, parts=parts)
    except OSError as error:
        raise DeployError(f"{checkpoint_id} has no readable {MANIFEST}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeployError(f"{checkpoint_id} is damaged: {MANIFEST} is not that of a checkpoint ({error})") from error
    if manifest.with_hash().sha256 != manifest.sha256 or manifest.checkpoint_id != checkpoint_id:
        raise DeployError(f"{checkpoint_id} is damaged: {MANIFEST} does not have its recorded hash")
    return manifest


def read_state(folder: Path, manifest: Manifest) -> CheckpointState:
    """Return the state of a checkpoint, and compare every part with its hash. Raises DeployError."""
    services: dict[str, dict[str, Any]] = {}
    for name, content in _verified_parts(folder, manifest):
        if name != PENDING:
            service, _, shard = name.removesuffix(_SUFFIX).rpartition("-")
            services.setdefault(service, {})[shard] = content
        else:
            pending = content
    compact = (manifest.state_version, manifest.slice_ns, services, pending)
    try:
        require_all_shards(compact, manifest.symbol_partitions)
    except BadInput as error:
        raise DeployError(f"{manifest.checkpoint_id} is incomplete: {error}") from error
    outputs: dict[tuple[str, int], int] = {}
    for name, offset in manifest.outputs.items():
        topic, _, partition = name.rpartition("/")
        outputs[topic, int(partition)] = offset
    return CheckpointState(manifest.checkpoint_id, manifest.slice_ns, compact, outputs)


def _verified_parts(folder: Path, manifest: Manifest) -> Iterator[tuple[str, Any]]:
    if PENDING not in manifest.parts:
        raise DeployError(f"{manifest.checkpoint_id} is incomplete: the manifest lists no {PENDING}")
    for name, (sha256, size) in manifest.parts.items():
        try:
            data = (folder / manifest.checkpoint_id / name).read_bytes()
        except OSError as error:
            raise DeployError(f"{manifest.checkpoint_id} lacks its part {name}: {error.strerror}") from error
        found = hashlib.sha256(data).hexdigest()
        if (found, len(data)) != (sha256, size):
            raise DeployError(
                f"{manifest.checkpoint_id} is damaged: {name} has {len(data)} bytes with sha256 {found[:12]}, expected "
                f"{size} bytes with {sha256[:12]}"
            )
        yield name, load_plain(data, f"{name} of {manifest.checkpoint_id}")


def remove_checkpoint(folder: Path, checkpoint_id: str) -> None:
    """Remove a checkpoint. It is renamed first, so that no incomplete one can be read. Raises OSError."""
    removed = folder / f"{SEALING_PREFIX}{checkpoint_id}"
    (folder / checkpoint_id).rename(removed)
    shutil.rmtree(removed)


def remove_unsealed(folder: Path) -> None:
    """Remove what an interrupted `seal` or `remove_checkpoint` has left."""
    for path in folder.glob(f"{SEALING_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
