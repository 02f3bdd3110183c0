"""The manifest of one archived log: its files in order, each with its offsets, size and SHA-256.

The manifest contains a hash of its own content, so that a changed byte in it is also detected. Files that the manifest
does not list are ignored, and the manifest is replaced as a whole. Incomplete files of a killed run are therefore never
read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from schemas.errors import Unavailable

VERSION = 1
MANIFEST_FILE = "manifest.json"
R = TypeVar("R", bound=tuple[Any, ...])


class ArchivedFile(NamedTuple):
    """One file: the messages of one UTC day (`YYYY-MM-DD`) at the offsets [start, end).

    `last_timestamp_ms` is the newest message timestamp, `bytes` the size of the file.
    """

    day: str
    name: str
    start: int
    end: int
    bytes: int
    last_timestamp_ms: int
    sha256: str


def read_manifest(folder: Path) -> list[ArchivedFile]:
    """Return the files of an archived log in order; none if it has no manifest.

    Raises Unavailable if the manifest is damaged, or if the offsets of its files have a gap.
    """
    path = folder / MANIFEST_FILE
    files = read_rows(path, ArchivedFile)
    for previous, following in pairwise(files):
        if previous.end != following.start:
            raise Unavailable(
                f"the archive manifest {path} has no messages between the offsets {previous.end} and "
                f"{following.start}; {_REPAIR}"
            )
    return files


def write_manifest(folder: Path, files: Sequence[ArchivedFile]) -> None:
    """Replace the manifest of a log durably. Raises OSError."""
    write_rows(folder / MANIFEST_FILE, files)


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """Return the rows of a manifest as named tuples; none if the file does not exist.

    Raises Unavailable if the manifest is damaged.
    """
    try:
        tree = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise Unavailable(f"the archive manifest {path} is damaged: {error}; {_REPAIR}") from error
    try:
        version, sha256, trees = tree["version"], tree["sha256"], tree["files"]
        rows = [kind(**row) for row in trees]
    except (KeyError, TypeError) as error:
        raise Unavailable(f"the archive manifest {path} is damaged: {error}; {_REPAIR}") from error
    if version != VERSION:
        raise Unavailable(f"the archive manifest {path} has version {version}, expected {VERSION}")
    if (found := _hash(trees)) != sha256:
        raise Unavailable(
            f"the archive manifest {path} is damaged: its SHA-256 starts with {found[:12]}, expected "
            f"{str(sha256)[:12]}; {_REPAIR}"
        )
    return rows


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Replace a manifest durably by these named tuples. Raises OSError."""
    trees = [row._asdict() for row in rows]
    text = json.dumps({"version": VERSION, "sha256": _hash(trees), "files": trees}, indent=1)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as target:
        target.write(text)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names of the files in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hash(rows: Sequence[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


_REPAIR = "restore the folder from a copy"
