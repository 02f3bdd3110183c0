"""Describe the processes that the supervisor starts, each with its health probe."""

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
    """Kinds of supervised processes."""

    SERVICE = "service"
    DATAFLOW = "dataflow"
    API = "api"
    DASHBOARD = "dashboard"
    CHECKS = "checks"
    ALERTS = "alerts"


class HealthProbe(Protocol):
    """Checks that a service responds. Returns None if it is healthy, else the reason in a few words; never raises."""

    def __call__(self, pid: int) -> str | None: ...


@dataclass(frozen=True)
class ProcessSpec:
    """One supervised child.

    `environment` is the complete environment of the child. `uid` is set if it must not run as root. The child is
    unhealthy if it does not become healthy within `start_grace_s`. `replica_of` names the dataflow of this process; a
    dataflow can have several.
    """

    name: str
    kind: ProcessKind
    command: tuple[str, ...]
    probe: HealthProbe
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 15.0
    start_grace_s: float = 60.0
    uid: int | None = None
    retain_search_capability: bool = False
    replica_of: str | None = None


@dataclass(frozen=True)
class EmbeddedServer:
    """An embedded server that is ready to start, and the address that its clients use. `authenticated`: clients of
    this Kafka need the credentials of a principal in the state folder.
    """

    service: ProcessSpec
    url: str = field(repr=False)  # holds a password
    description: str
    degraded: str | None = None
    authenticated: bool = False


ProgressCallback = Callable[[str], None]
"""Receives one line of progress."""
