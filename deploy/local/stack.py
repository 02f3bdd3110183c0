"""Run the embedded services as children of this process, for tests and for short-lived commands."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from deploy.errors import DeployError
from deploy.home import Home
from deploy.local import postgres
from deploy.local.endpoints import Endpoints, prepare
from deploy.local.ports import Ports
from deploy.supervisor.process_spec import ProcessSpec, ProgressCallback
from deploy.supervisor.processes import end_process, identify, spawn, tail

_STOP_WITHOUT_WRITING = {"kafka": signal.SIGKILL, "postgres": signal.SIGQUIT}
"""Signals that end a server at once. With its own signal it first writes its data to the disk, which takes a minute for
sixty databases on a busy machine."""


@dataclass
class ServiceStack:
    """Running services. `stop_one` and `start_one` stop and start one of them, with the same port and data."""

    home: Home
    ports: Ports
    endpoints: Endpoints
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_one(self, name: str) -> None:
        """Start a service and wait until it is healthy. Raises DeployError with its last log line if it is not."""
        service = self._service(name)
        log = self.home.logs / f"{name}.log"
        self.children[name] = spawn(
            service.command,
            log=log,
            env=service.environment,
            cwd=self.home.root,
            uid=service.uid,
            retain_search_capability=service.retain_search_capability,
            tied=True,
        )
        deadline = time.monotonic() + service.start_grace_s
        while (reason := service.probe(self.children[name].pid)) is not None:
            if self.children[name].poll() is not None or time.monotonic() > deadline:
                raise DeployError(f"{name} did not become healthy: {reason}; {log} ends with: {tail(log)}")
            time.sleep(0.05)

    def stop_one(self, name: str, *, discard: bool = False) -> None:
        """Stop a service; with `discard`, Kafka and PostgreSQL do not write their data to the disk first."""
        service, child = self._service(name), self.children.pop(name)
        identity = identify(child.pid)
        if identity is not None and child.poll() is None:
            first_signal = _STOP_WITHOUT_WRITING.get(name, service.stop_signal) if discard else service.stop_signal
            end_process(identity, timeout_s=service.stop_timeout_s, first_signal=first_signal)
        child.wait()

    def stop(self, *, discard: bool = False) -> None:
        for name in reversed(list(self.children)):
            self.stop_one(name, discard=discard)

    def _service(self, name: str) -> ProcessSpec:
        return next(service for service in self.endpoints.services if service.name == name)


@contextlib.contextmanager
def running_stack(
    home: Home,
    ports: Ports,
    report: ProgressCallback,
    environ: Mapping[str, str] = os.environ,
    *,
    discard: bool = False,
) -> Iterator[ServiceStack]:
    """Run the services that `environ` has no address for until the block ends, for tests. Their Kafka is open to all
    local users. With `discard`, nobody needs their data afterwards. Raises DeployError.
    """
    home.create_folders()
    stack = ServiceStack(home, ports, prepare(home, ports, report, environ, authenticated=False))
    try:
        for service in stack.endpoints.services:
            report(f"starting {service.name}")
            stack.start_one(service.name)
        if "postgres" in stack.children:
            postgres.make_database(home, ports.postgres)
        yield stack
    finally:
        stack.stop(discard=discard)
