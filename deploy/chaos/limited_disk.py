"""A folder on a disk of its own whose size can be limited: a tmpfs of Linux, which only root can mount."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

from deploy.errors import DeployError

_SIZE = "4g"
"""A limit, not a reservation: a tmpfs uses memory for its files only."""
_MODE = "0711"


class LimitedDisk:
    """A context manager that mounts the disk on a new, empty `folder`, and removes it with all its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> LimitedDisk:
        self.folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode={_MODE}", "tmpfs", str(self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Lazily: a file that a process still has open must not keep the disk in the system.
        _run("umount", "--lazy", str(self.folder))

    def fill(self, room_bytes: int) -> int:
        """Limit the disk to its contents and `room_bytes` more. Return its new size in bytes."""
        status = os.statvfs(self.folder)
        size = (status.f_blocks - status.f_bfree) * status.f_frsize + room_bytes
        self._resize(str(size))
        return size

    def free(self) -> None:
        """Give the disk its full size again."""
        self._resize(_SIZE)

    def _resize(self, size: str) -> None:
        _run("mount", "-o", f"remount,size={size}", str(self.folder))


def require_limited_disks() -> None:
    """Raises DeployError if this user cannot mount a disk."""
    if os.geteuid() != 0:
        raise DeployError("fault space mounts a small disk and needs root; leave it out of --faults")


def _run(*command: str) -> None:
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DeployError(f"fault space needs the program {command[0]}, which is not installed") from error
    if completed.returncode != 0:
        raise DeployError(f"`{' '.join(command)}` failed: {completed.stderr.strip()}")
