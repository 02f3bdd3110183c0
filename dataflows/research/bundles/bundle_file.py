"""The file of a bundle: a ZIP archive of parts, with a manifest that has the kind and SHA-256 of each part.

The comment of the archive is the SHA-256 of all bytes before it, so that a flipped bit anywhere is found. It finds
damage, not forgery: whoever changes a part can write the hashes again. Every error about a part names it. A name of a
part is a relative path without `..`, so that a bundle from elsewhere writes nothing outside the folder into which it is
extracted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from schemas.errors import BadInput

VERSION = 1
MANIFEST: Final = "manifest.json"
INPUTS: Final = "inputs.json"
SETTINGS: Final = "settings.json"
COMMIT: Final = "commit.json"
LOCK: Final = "lock.txt"
RESULT: Final = "result.json"
TRIALS: Final = "trials.jsonl"
ORDERS: Final = "decisions/orders.parquet"
EXECUTIONS: Final = "decisions/executions.parquet"
KINDS: Final = ("inputs", "settings", "commit", "lock", "result", "trials", "decisions", "source", "data")
PART_BYTES_MAX = 4_000_000_000
_NAME = re.compile(r"(?!.*(^|/)\.\.?(/|$))[\w.+@=% -]+(/[\w.+@=% -]+)*")
_SEAL_BYTES = 64
_EPOCH = (1980, 1, 1, 0, 0, 0)
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, NotImplementedError),
    *(RuntimeError, OverflowError, OSError),
)
"""What reading a damaged ZIP archive raises."""


class BundlePart(NamedTuple):
    """A part to write: its content, or the file that has it."""

    name: str
    kind: str
    content: bytes | Path


class BundleContents(NamedTuple):
    """An extracted bundle: the kind of each part by its name, which is its path in `folder`."""

    kinds: dict[str, str]
    folder: Path

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def json(self, name: str) -> Any:
        return json.loads(self.text(name))


def json_part(name: str, kind: str, value: Any) -> BundlePart:
    """Return a part with a value as JSON."""
    return BundlePart(name, kind, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def write_bundle(path: Path, parts: Iterable[BundlePart], facts: Mapping[str, Any]) -> None:
    """Write a bundle, which exists only when it is complete. `facts` are stored in the manifest. Raises BadInput."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    listed = []
    try:
        with zipfile.ZipFile(unfinished, "w") as archive:
            for part in parts:
                assert part.kind in KINDS and _NAME.fullmatch(part.name), f"part {part}"
                content = part.content.read_bytes() if isinstance(part.content, Path) else part.content
                listed.append({"name": part.name, "kind": part.kind, "sha256": _sha256(content), "bytes": len(content)})
                archive.writestr(_entry(part.name, part.kind), content)
            manifest = json.dumps({"version": VERSION, **facts, "parts": listed}, indent=1) + "\n"
            archive.writestr(_entry(MANIFEST, "manifest"), manifest.encode())
            archive.comment = b"0" * _SEAL_BYTES
        seal = _seal(unfinished)
        with unfinished.open("r+b") as file:
            file.seek(-_SEAL_BYTES, os.SEEK_END)
            file.write(seal)
        unfinished.replace(path)
    except OSError as error:
        raise BadInput(f"cannot write the bundle {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def read_bundle(path: Path, folder: Path) -> BundleContents:
    """Extract a bundle into a folder, and check all parts.

    Raises BadInput with the name of the first part that is damaged, missing or not in the manifest.
    """
    if not path.is_file():
        raise BadInput(f"there is no bundle {path}")
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise BadInput(f"{path} is not a bundle, or its table of parts is damaged: {error}") from error
    with archive:
        parts = read_manifest(archive)
        kinds: dict[str, str] = {}
        for part in parts:
            name, kind = part["name"], part["kind"]
            content = _read(archive, name, kind)
            if len(content) != part["bytes"] or _sha256(content) != part["sha256"]:
                raise BadInput(f"part {name} ({kind}) differs from its hash in the manifest")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            kinds[name] = kind
        for name in archive.namelist():
            if name not in kinds and name != MANIFEST:
                raise BadInput(f"part {name!r} is not in the manifest: it was added to the bundle")
        if archive.comment != _seal(path):
            raise BadInput(f"{path} was changed outside of the contents of its parts, which are as they were")
    return BundleContents(kinds, folder)


def read_manifest(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    """Return the parts of the manifest. Raises BadInput if it is damaged or of a newer release."""
    manifest = json.loads(_read(archive, MANIFEST, "manifest"))
    if manifest["version"] > VERSION:
        raise BadInput(f"the bundle has version {manifest['version']}, this release reads up to {VERSION}")
    parts: list[dict[str, Any]] = manifest["parts"]
    for part in parts:
        if not _NAME.fullmatch(part["name"]):
            raise BadInput(f"part {part['name']!r} has a name that is not a relative path")
        if part["kind"] not in KINDS:
            raise BadInput(f"part {part['name']} has the unknown kind {part['kind']!r}")
    return parts


def _read(archive: zipfile.ZipFile, name: str, kind: str) -> bytes:
    try:
        if archive.getinfo(name).file_size > PART_BYTES_MAX:
            raise ValueError(f"larger than {PART_BYTES_MAX:,} bytes")
        return archive.read(name)
    except _DAMAGE as error:
        reason = "it is missing" if isinstance(error, KeyError) else str(error)
        raise BadInput(f"part {name} ({kind}) is damaged: {reason}") from error


def _entry(name: str, kind: str) -> zipfile.ZipInfo:
    """Return an entry without the time of writing, so that equal parts give equal bytes. Only data is compressed."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED if kind == "data" else zipfile.ZIP_STORED
    entry.external_attr = 0o600 << 16
    return entry


def _seal(path: Path) -> bytes:
    """Return SHA-256 of a file without its last `_SEAL_BYTES` bytes, as hexadecimal digits."""
    digest, left = hashlib.sha256(), path.stat().st_size - _SEAL_BYTES
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest().encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
