"""Save the state of a service right after the time slice of a checkpoint marker.

A part is one file: the states of the source and of the stage of a shard, or the state of the compact process. It lies
in `checkpoints/parts/CHECKPOINT` of the state folder until `checkpoint create` seals it with the others. A process that
was killed processes the marker again after its restart, and writes the same part again.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from dataflows.runtime.topology import COMPACT
from schemas.records import CheckpointMarker

log = structlog.get_logger(__name__)

FOLDER: Final = "checkpoints"
PARTS: Final = "parts"
SUFFIX: Final = ".part"
COMPACT_PART: Final = f"{COMPACT}{SUFFIX}"
_ID_CHARACTERS_MAX = 80


class ReaderCheckpoint(NamedTuple):
    """The state of a shard's source right after the time slice with a marker, which it follows to the stage."""

    marker: CheckpointMarker
    slice_ns: int
    service: str
    shard: str
    state: Any


def checkpoints_folder() -> Path | None:
    """Return the folder of the checkpoints under PLATFORM_HOME, or None if that variable is unset."""
    home = os.environ.get("PLATFORM_HOME")
    return Path(home) / FOLDER if home else None


def part_name(service: str, shard: str) -> str:
    """
    >>> part_name("features", "2")
    'features-2.part'
    """
    return f"{service}-{shard}{SUFFIX}"


def is_checkpoint_id(text: str) -> bool:
    """Whether a text is the id of a checkpoint, and therefore the name of a folder.

    >>> is_checkpoint_id("checkpoint-20240115T210000Z-3f2a91c0"), is_checkpoint_id("../secrets")
    (True, False)
    """
    is_name = text.replace("-", "").isalnum() and text.isascii()
    return is_name and text.startswith("checkpoint-") and len(text) <= _ID_CHARACTERS_MAX


def write_shard_part(reader: ReaderCheckpoint, stage_state: Any) -> None:
    """Write the part of one shard of a service. `stage_state` is the state of its stage after the same time slice."""
    write_part(reader.marker, reader.slice_ns, part_name(reader.service, reader.shard), (reader.state, stage_state))


def write_part(marker: CheckpointMarker, slice_ns: int, name: str, state: Any) -> None:
    """Write `(slice_ns, state)`. If that fails, only this checkpoint is lost: a full disk must not stop a service."""
    folder = checkpoints_folder()
    if folder is None or not is_checkpoint_id(marker.checkpoint_id):
        log.warning("no checkpoint written", checkpoint=marker.checkpoint_id[:_ID_CHARACTERS_MAX])
        return
    try:
        target = folder / PARTS / marker.checkpoint_id
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(target / name, pickle.dumps((slice_ns, state), protocol=5))
    except OSError as error:
        log.error("cannot write a part of a checkpoint", checkpoint=marker.checkpoint_id, reason=str(error))
    else:
        log.info("part of a checkpoint written", checkpoint=marker.checkpoint_id, part=name, slice_ns=slice_ns)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that exists either completely or not at all. Raises OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
