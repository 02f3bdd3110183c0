"""Halt files: a dataflow that halts writes one, and the supervisor does not restart it until a user releases the halt.

`run/halted/NAME.json` holds the reason and the time slice. A release moves the file to `run/released/`; from then on no
process halts at or before that time slice. It is a file and not an exit code because the engine sets the exit code.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple


class ServiceHalt(NamedTuple):
    """Why a process halted, at which time slice (`at_ns`, event time) and when (`since`, seconds since 1970)."""

    service: str
    at_ns: int
    reason: str
    since: float


def write_halt(run_dir: Path, name: str, at_ns: int, reason: str) -> None:
    """Write the halt file of process `name`. `run_dir` is the folder `run` of the state folder."""
    path = _halt_path(run_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(ServiceHalt(name, at_ns, reason, time.time())._asdict()))
    temporary.replace(path)


def read_halt(run_dir: Path, name: str) -> ServiceHalt | None:
    """Return the halt of a process, or None if it is not halted."""
    return _read_halt_file(_halt_path(run_dir, name))


def release_halt(run_dir: Path, name: str) -> ServiceHalt | None:
    """Release a process. Return its halt, or None if it was not halted."""
    halt = read_halt(run_dir, name)
    if halt is not None:
        released_path = _released_path(run_dir, name)
        released_path.parent.mkdir(parents=True, exist_ok=True)
        _halt_path(run_dir, name).replace(released_path)
    return halt


def release_all_halts(run_dir: Path) -> list[ServiceHalt]:
    """Release every process, as a start of the whole platform does. Return the halts."""
    halts = [release_halt(run_dir, path.stem) for path in sorted((run_dir / "halted").glob("*.json"))]
    return [halt for halt in halts if halt is not None]


def last_released_ns(run_dir: Path) -> int:
    """Return the latest time slice (ns) released for any process, as processes share records; -1 if there is none."""
    halts = [_read_halt_file(path) for path in (run_dir / "released").glob("*.json")]
    return max((halt.at_ns for halt in halts if halt is not None), default=-1)


def _halt_path(run_dir: Path, name: str) -> Path:
    return run_dir / "halted" / f"{name}.json"


def _released_path(run_dir: Path, name: str) -> Path:
    return run_dir / "released" / f"{name}.json"


def _read_halt_file(path: Path) -> ServiceHalt | None:
    try:
        return ServiceHalt(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
