"""The disk of Kafka or of PostgreSQL is full: no file on it can grow, until it gets space again.

The server must report it. It may stop; the supervisor then restarts it. When there is space, all services continue.
"""

from __future__ import annotations

import time
from pathlib import Path

from deploy.chaos.fault import Fault, FaultRun, PlannedFault
from deploy.errors import DeployError

SERVERS = ("kafka", "postgres")
FULL = "No space left on device"
_ROOM_BYTES, _FULL_WITHIN_S, _FULL_FOR_S = 16_384, 90.0, 3.0
_RECOVERY_TIMEOUT_S = 180.0
_SLICES = 30


def _space(run: FaultRun, fault: PlannedFault) -> str:
    stack, server = run.stack, fault.target
    stack.wait_for_servers()
    disk, log = stack.disks[server], stack.home.logs / f"{server}.log"
    restarts, position = stack.restarts_of(server), log.stat().st_size
    size = disk.fill(_ROOM_BYTES)
    try:
        # The server must write to notice the full disk.
        run.pace.allow(_SLICES)
        _wait_until_reported(log, position, server)
        time.sleep(_FULL_FOR_S)
    finally:
        disk.free()
    stack.wait_for_servers(_RECOVERY_TIMEOUT_S)
    ended = stack.restarts_of(server) - restarts
    what = f"it ended {ended} times" if ended else "it rejected writes"
    return f"disk of {server} full at {size // 1_000_000} MB for {_FULL_FOR_S:.0f} s: {what}"


def _wait_until_reported(log: Path, position: int, server: str) -> None:
    """Wait until the server's log reports the full disk. Raises DeployError."""
    deadline = time.monotonic() + _FULL_WITHIN_S
    while not reports_full_disk(log, position):
        if time.monotonic() > deadline:
            raise DeployError(f"{server} did not report a full disk within {_FULL_WITHIN_S:.0f} s (log: {log})")
        time.sleep(0.2)


def reports_full_disk(log: Path, position: int) -> bool:
    """Whether the log reports a full disk after this position in bytes. A rotated log is read from its start."""
    with log.open("rb") as file:
        file.seek(position if log.stat().st_size >= position else 0)
        return FULL.encode() in file.read()


SPACE = Fault(SERVERS, _space, kills_per_fault=10, tape_s=4.0)
