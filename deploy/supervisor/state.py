"""PLATFORM_HOME/run/state.json: what runs, written whole or not at all, readable by anybody, without secrets."""

import json
import os
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from deploy.home import Home
from deploy.supervisor.processes import ProcessIdentity


class Phase(StrEnum):
    """Of the whole platform."""

    PREPARING = "preparing"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Status(StrEnum):
    """Of one child. `failed` is a crash loop: nothing happens until somebody starts it again."""

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    BACKING_OFF = "backing off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    HALTED = "halted"


@dataclass(frozen=True)
class ChildState:
    """One service. `process_started_at` in seconds since the epoch; `reason` says why it is not healthy."""

    name: str
    kind: str
    status: Status
    pid: int | None = None
    process_started_at: float | None = None
    restarts: int = 0
    reason: str | None = None
    external: bool = False
    replica_of: str | None = None

    @property
    def identity(self) -> ProcessIdentity | None:
        if self.pid is None or self.process_started_at is None:
            return None
        return ProcessIdentity(self.pid, self.process_started_at)


@dataclass(frozen=True)
class PlatformState:
    """The platform as its supervisor saw it at `updated_at`. `dashboard` is its address, or empty and
    `without_dashboard` says why.
    """

    phase: Phase
    message: str
    supervisor_pid: int
    supervisor_started_at: float
    updated_at: float
    kafka: str = ""
    api: str = ""
    dashboard: str = ""
    without_dashboard: str = ""
    degraded: tuple[str, ...] = ()
    children: tuple[ChildState, ...] = field(default=())
    dev: bool = False
    rescale: str = ""
    """What the last change of a number of processes came to: `features to 3: under way`, `… done`, `… failed: …`."""

    @property
    def supervisor(self) -> ProcessIdentity:
        return ProcessIdentity(self.supervisor_pid, self.supervisor_started_at)

    def child(self, name: str) -> ChildState | None:
        return next((child for child in self.children if child.name == name), None)

    def processes_of(self, name: str) -> tuple[ChildState, ...]:
        """The child of this name, or all processes of the dataflow of this name."""
        return tuple(child for child in self.children if name in (child.name, child.replica_of))


def write_state(home: Home, state: PlatformState) -> None:
    """Replace the file in one step, so that a reader never sees half of it."""
    replace_file(home.state_file, json.dumps({"version": 1, **asdict(state)}, indent=1))


def replace_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` beside `path` and move it there."""
    temporary = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    temporary.replace(path)


def read_state(home: Home) -> PlatformState | None:
    """The last state that was written, by a supervisor that may be gone since; None when there never was one."""
    try:
        tree = json.loads(home.state_file.read_text())
    except FileNotFoundError:
        return None
    tree.pop("version")
    children = tuple(ChildState(**{**child, "status": Status(child["status"])}) for child in tree.pop("children"))
    phase, degraded = Phase(tree.pop("phase")), tuple(tree.pop("degraded"))
    return PlatformState(phase=phase, degraded=degraded, children=children, **tree)


def running_state(home: Home) -> PlatformState | None:
    """The state of a supervisor that lives now; None when none does, whatever an old file says."""
    state = read_state(home)
    return state if state is not None and state.supervisor.alive() else None
