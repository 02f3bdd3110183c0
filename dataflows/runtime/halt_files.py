"""A dataflow that halts itself leaves a file: the supervisor then holds it, until a person lets it go on.

`run/halted/NAME.json` says why and at which tick. Letting go moves it to `run/released/`: that tick has been looked at,
for every process that meets it. A file and not an exit code: inside of the engine the exit code is not ours to choose.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple


class ServiceHalt(NamedTuple):
    """Why a process halted, at which tick (event time), and when (seconds since 1970)."""

    service: str
    at_ns: int
    reason: str
    since: float


def write_halt(run_dir: Path, name: str, at_ns: int, reason: str) -> None:
    """`run_dir` is the folder `run_dir` of the state folder, `name` that of the process."""
    path = _halt_path(run_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(ServiceHalt(name, at_ns, reason, time.time())._asdict()))
    temporary.replace(path)


def read_halt(run_dir: Path, name: str) -> ServiceHalt | None:
    """The halt that holds a process, None where none does."""
    return _read_halt_file(_halt_path(run_dir, name))


def release_halt(run_dir: Path, name: str) -> ServiceHalt | None:
    """Let a process go on; returns what it was halted for, None where it was not."""
    halt = read_halt(run_dir, name)
    if halt is not None:
        released_path = _released_path(run_dir, name)
        released_path.parent.mkdir(parents=True, exist_ok=True)
        _halt_path(run_dir, name).replace(released_path)
    return halt


def release_all_halts(run_dir: Path) -> list[ServiceHalt]:
    """Let all go on, as a start of the whole platform does."""
    halts = [release_halt(run_dir, path.stem) for path in sorted((run_dir / "halted").glob("*.json"))]
    return [halt for halt in halts if halt is not None]


def last_released_ns(run_dir: Path) -> int:
    """The last tick that a person has released, for whichever process: others meet the same records. -1 for none."""
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
