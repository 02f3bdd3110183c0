"""What the supervisor starts: one description per service, and the real query that shows it is healthy."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from dataflows.runtime.topology import SERVICES

SERVICE_NAMES = ("kafka", "postgres", "redis")
DATAFLOW_NAMES = tuple(SERVICES)


class ProcessKind(StrEnum):
    """Order of starting; stopping goes the other way round."""

    SERVICE = "service"
    DATAFLOW = "dataflow"
    API = "api"
    DASHBOARD = "dashboard"
    CHECKS = "checks"
    ALERTS = "alerts"


class Probe(Protocol):
    """Asks a service a real question. None when it answers rightly, else the reason in a few words; never raises."""

    def __call__(self, pid: int) -> str | None: ...


@dataclass(frozen=True)
class ProcessSpec:
    """One supervised child.

    `environment` is the whole environment of the child. `uid` is set when it must not run as root. `start_grace_s` is
    how long it may take to become healthy before a start counts as failed. `replica_of` names the dataflow whose
    process it is; several processes may share one.
    """

    name: str
    kind: ProcessKind
    command: tuple[str, ...]
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 15.0
    start_grace_s: float = 60.0
    uid: int | None = None
    keep_search_capability: bool = False
    replica_of: str | None = None


@dataclass(frozen=True)
class EmbeddedServer:
    """An embedded server that is ready to be started, and the address its clients use."""

    service: ProcessSpec
    url: str = field(repr=False)  # holds a password
    description: str
    degraded: str | None = None


ProgressCallback = Callable[[str], None]
"""Takes one line of progress."""
