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
from typing import Any, NamedTuple

from schemas.errors import Unavailable

VERSION = 1
MANIFEST_FILE = "manifest.json"


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
    try:
        tree = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise Unavailable(f"the archive manifest {path} is damaged: {error}; {_REPAIR}") from error
    try:
        version, sha256, rows = tree["version"], tree["sha256"], tree["files"]
        files = [ArchivedFile(**row) for row in rows]
    except (KeyError, TypeError) as error:
        raise Unavailable(f"the archive manifest {path} is damaged: {error}; {_REPAIR}") from error
    if version != VERSION:
        raise Unavailable(f"the archive manifest {path} has version {version}, expected {VERSION}")
    if (found := _hash(rows)) != sha256:
        raise Unavailable(
            f"the archive manifest {path} is damaged: its SHA-256 starts with {found[:12]}, expected "
            f"{str(sha256)[:12]}; {_REPAIR}"
        )
    for previous, following in pairwise(files):
        if previous.end != following.start:
            raise Unavailable(
                f"the archive manifest {path} has no messages between the offsets {previous.end} and "
                f"{following.start}; {_REPAIR}"
            )
    return files


def write_manifest(folder: Path, files: Sequence[ArchivedFile]) -> None:
    """Replace the manifest of a log durably. Raises OSError."""
    rows = [file._asdict() for file in files]
    text = json.dumps({"version": VERSION, "sha256": _hash(rows), "files": rows}, indent=1)
    temporary = folder / f".{MANIFEST_FILE}.tmp"
    with temporary.open("w") as target:
        target.write(text)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(folder / MANIFEST_FILE)
    sync_folder(folder)


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
