"""Change a dataflow's number of processes: stop them, rescale their recovery stores, start the new ones.

One dataflow is rescaled at a time. The supervisor calls `step` a few times a second and does not block.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.recovery import rescale
from deploy.supervisor.child import Child
from deploy.supervisor.process_spec import ProcessSpec
from deploy.supervisor.processes import tail

RESCALE_MODULE = rescale.__name__
"""Runs as a process of its own, for the reason in its docstring."""


@dataclass
class RescaleTask:
    """The current change, if any.

    `services_of(name, count)` describes the new processes; `require_valid(name, count)` raises DeployError for an
    impossible count. `environment` is the environment of the platform's own processes. `progress` is for users.
    """

    home: Home
    services_of: Callable[[str, int], list[ProcessSpec]]
    environment: Mapping[str, str]
    require_valid: Callable[[str, int], None]
    progress: str = ""
    command: tuple[str, ...] = (sys.executable, "-m", RESCALE_MODULE)
    _service: str | None = None
    _count: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def is_rescaling(self, name: str) -> bool:
        return self._service is not None and name.split("-")[0] == self._service

    def begin(self, name: str, count: int, children: list[Child]) -> str | None:
        """Stop the dataflow's processes. Return why the request is rejected, or None."""
        try:
            self.require_valid(name, count)
        except DeployError as error:
            return str(error)
        if self._service is not None:
            return f"{self._service} is being rescaled; try again in a moment"
        if len(children) == count:
            self.progress = f"{name} to {count}: done"
            return None
        self._service, self._count = name, count
        self.progress = f"{name} to {count}: in progress"
        for child in children:
            child.request_stop()
        return None

    def step(self, children: list[Child]) -> list[Child]:
        """Return the platform's children, with the old processes replaced once the new ones can start."""
        if self._service is None:
            return children
        old = [child for child in children if child.service.replica_of == self._service]
        if any(child.running for child in old):
            return children
        if self._process is None:
            self._process = self._spawn(self._service, self._count)
        status = self._process.poll()
        if status is None:
            return children
        name, self._service, self._process = self._service, None, None
        if status != 0:
            self.progress = f"{name} to {self._count}: failed: {tail(self._log).removeprefix('error: ')}"
            for child in old:
                child.request_start()
            return children
        for child in old:
            # The new processes report statistics under their own names.
            (self.home.stats / f"{child.service.name}.json").unlink(missing_ok=True)
        new = [Child(service, self.home) for service in self.services_of(name, self._count)]
        self.progress = f"{name} to {self._count}: done"
        position = children.index(old[0])
        return [*children[:position], *new, *(child for child in children[position:] if child not in old)]

    def abandon(self) -> None:
        """Abort the current change. The stores have either the old or the new layout."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._service = None

    @property
    def _log(self) -> Path:
        return self.home.logs / "rescale.log"

    def _spawn(self, name: str, count: int) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as out:
            return subprocess.Popen(
                [*self.command, name, str(count)],
                cwd=REPOSITORY,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
