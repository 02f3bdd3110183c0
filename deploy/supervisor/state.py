"""Read and write the platform's state, PLATFORM_HOME/run/state.json. It has no secrets and is replaced atomically."""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from deploy.home import Home
from deploy.supervisor.processes import ProcessIdentity, identify

STATE_AGE_MAX_S = 10.0
"""The supervisor writes its state every two seconds. An older state is outdated."""


class Phase(StrEnum):
    """Phase of the whole platform."""

    PREPARING = "preparing"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class ChildStatus(StrEnum):
    """Status of one child. `failed` is a crash loop: the supervisor does not restart it.

    `unknown` is what readers show of every child if the supervisor does not report.
    """

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    BACKING_OFF = "backing off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUSPENDED = "halted"


@dataclass(frozen=True)
class ChildState:
    """State of one process. `process_started_at` is in seconds since the epoch; `reason` is why it is not healthy.

    `fingerprint` identifies the command, environment and code of the process (`process_fingerprint.py`).
    """

    name: str
    kind: str
    status: ChildStatus
    pid: int | None = None
    process_started_at: float | None = None
    restarts: int = 0
    reason: str | None = None
    external: bool = False
    replica_of: str | None = None
    fingerprint: str = ""

    @property
    def identity(self) -> ProcessIdentity | None:
        if self.pid is None or self.process_started_at is None:
            return None
        return ProcessIdentity(self.pid, self.process_started_at)


@dataclass(frozen=True)
class PlatformState:
    """State of the platform at `updated_at`. `dashboard` is an address; if it is empty, `without_dashboard` is why."""

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
    layout: str = ""
    rescale: str = ""
    """Progress of the last rescale: `features to 3: in progress`, `… done` or `… failed: REASON`."""

    @property
    def supervisor(self) -> ProcessIdentity:
        return ProcessIdentity(self.supervisor_pid, self.supervisor_started_at)

    def age_s(self) -> float:
        """Return how long ago the supervisor reported, in seconds; infinite for a report from the future."""
        age_s = time.time() - self.updated_at
        return age_s if age_s >= -STATE_AGE_MAX_S else float("inf")

    def is_current(self) -> bool:
        """Return whether the supervisor runs and reported within `STATE_AGE_MAX_S`."""
        return self.supervisor.alive() and self.age_s() <= STATE_AGE_MAX_S

    def child(self, name: str) -> ChildState | None:
        return next((child for child in self.children if child.name == name), None)

    def processes_of(self, name: str) -> tuple[ChildState, ...]:
        """Return the child of this name, or all processes of the dataflow of this name."""
        return tuple(child for child in self.children if name in (child.name, child.replica_of))


def initial_state(message: str) -> PlatformState:
    """Return the state of this process, a supervisor that prepares the platform."""
    identity = identify(os.getpid())
    assert identity is not None, "this process exists"
    return PlatformState(
        phase=Phase.PREPARING,
        message=message,
        supervisor_pid=identity.pid,
        supervisor_started_at=identity.started_at,
        updated_at=time.time(),
    )


def write_state(home: Home, state: PlatformState) -> None:
    """Replace the state file atomically."""
    replace_file(home.state_file, json.dumps({"version": 1, **asdict(state)}, indent=1))


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace `path` atomically by a file with this text and mode."""
    temporary = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    temporary.replace(path)


def read_state(home: Home) -> PlatformState | None:
    """Return the last written state, even of a supervisor that has exited; None if there never was one."""
    try:
        tree = json.loads(home.state_file.read_text())
    except FileNotFoundError:
        return None
    tree.pop("version")
    children = tuple(ChildState(**{**child, "status": ChildStatus(child["status"])}) for child in tree.pop("children"))
    phase, degraded = Phase(tree.pop("phase")), tuple(tree.pop("degraded"))
    return PlatformState(phase=phase, degraded=degraded, children=children, **tree)


def running_state(home: Home) -> PlatformState | None:
    """Return the state of the running supervisor; None if none runs."""
    state = read_state(home)
    return state if state is not None and state.supervisor.alive() else None
