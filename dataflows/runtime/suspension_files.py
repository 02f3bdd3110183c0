"""Suspension of a dataflow that rejects too many records: the supervisor does not restart it until a user releases it.

`run/halted/NAME.json` holds the reason and the time slice. A release moves the file to `run/released/`; from then on no
process is suspended at or before that time slice. It is a file and not an exit code because the engine sets the exit
code.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple


class ServiceSuspension(NamedTuple):
    """Why a process was suspended, at which time slice (`at_ns`, event time) and when (`since`, seconds since 1970)."""

    service: str
    at_ns: int
    reason: str
    since: float


def write_suspension(run_dir: Path, name: str, at_ns: int, reason: str) -> None:
    """Write the suspension file of process `name`. `run_dir` is the folder `run` of the state folder."""
    path = _suspension_path(run_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(ServiceSuspension(name, at_ns, reason, time.time())._asdict()))
    temporary.replace(path)


def read_suspension(run_dir: Path, name: str) -> ServiceSuspension | None:
    """Return the suspension of a process, or None if it is not suspended."""
    return _read_file(_suspension_path(run_dir, name))


def release_suspension(run_dir: Path, name: str) -> ServiceSuspension | None:
    """Release a process. Return its suspension, or None if it was not suspended."""
    suspension = read_suspension(run_dir, name)
    if suspension is not None:
        released_path = _released_path(run_dir, name)
        released_path.parent.mkdir(parents=True, exist_ok=True)
        _suspension_path(run_dir, name).replace(released_path)
    return suspension


def release_all(run_dir: Path) -> list[ServiceSuspension]:
    """Release every process, as a start of the whole platform does. Return the suspensions."""
    suspensions = [release_suspension(run_dir, path.stem) for path in sorted((run_dir / "halted").glob("*.json"))]
    return [suspension for suspension in suspensions if suspension is not None]


def last_released_ns(run_dir: Path) -> int:
    """Return the latest time slice (ns) released for any process, as processes share records; -1 if there is none."""
    suspensions = [_read_file(path) for path in (run_dir / "released").glob("*.json")]
    return max((suspension.at_ns for suspension in suspensions if suspension is not None), default=-1)


def _suspension_path(run_dir: Path, name: str) -> Path:
    return run_dir / "halted" / f"{name}.json"


def _released_path(run_dir: Path, name: str) -> Path:
    return run_dir / "released" / f"{name}.json"


def _read_file(path: Path) -> ServiceSuspension | None:
    try:
        return ServiceSuspension(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
