"""A dataflow that halts itself leaves a file: the supervisor then holds it, until a person lets it go on.

`run/halted/NAME.json` says why and at which tick. Letting go moves it to `run/released/`: that tick has been looked at,
for every process that meets it. A file and not an exit code: inside of the engine the exit code is not ours to choose.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple


class Halt(NamedTuple):
    """Why a process halted, at which tick (event time), and when (seconds since 1970)."""

    service: str
    at_ns: int
    reason: str
    since: float


def write_halt(run: Path, name: str, at_ns: int, reason: str) -> None:
    """`run` is the folder `run` of the state folder, `name` that of the process."""
    path = _halted(run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(Halt(name, at_ns, reason, time.time())._asdict()))
    draft.replace(path)


def read_halt(run: Path, name: str) -> Halt | None:
    """The halt that holds a process, None where none does."""
    return _read(_halted(run, name))


def release(run: Path, name: str) -> Halt | None:
    """Let a process go on; returns what it was halted for, None where it was not."""
    halt = read_halt(run, name)
    if halt is not None:
        released = _released(run, name)
        released.parent.mkdir(parents=True, exist_ok=True)
        _halted(run, name).replace(released)
    return halt


def release_all(run: Path) -> list[Halt]:
    """Let all go on, as a start of the whole platform does."""
    found = [release(run, path.stem) for path in sorted((run / "halted").glob("*.json"))]
    return [halt for halt in found if halt is not None]


def released_ns(run: Path) -> int:
    """The last tick that a person has released, for whichever process: others meet the same records. -1 for none."""
    halts = [_read(path) for path in (run / "released").glob("*.json")]
    return max((halt.at_ns for halt in halts if halt is not None), default=-1)


def _halted(run: Path, name: str) -> Path:
    return run / "halted" / f"{name}.json"


def _released(run: Path, name: str) -> Path:
    return run / "released" / f"{name}.json"


def _read(path: Path) -> Halt | None:
    try:
        return Halt(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
