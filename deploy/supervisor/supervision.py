"""The loop that starts the processes of the platform in order, monitors them, and stops them in reverse order.

It has one thread. It restarts crashed children, and ends only on request.
"""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dataflows.runtime import suspension_files
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.supervisor import control, takeover
from deploy.supervisor.child import STOP_ORDER, Child
from deploy.supervisor.dev_reload import SourceWatcher
from deploy.supervisor.process_spec import ProcessKind, ProcessSpec
from deploy.supervisor.processes import tail
from deploy.supervisor.rescale_task import RescaleTask
from deploy.supervisor.state import ChildStatus, Phase, PlatformState, initial_state, write_state

_LOOP_S, _HEARTBEAT_S = 0.2, 2.0
REQUIRED_BY_DATAFLOWS = ("kafka", "postgres")
"""Redis is not required: it is a cache, and trading continues without it."""


@dataclass
class Supervisor:
    """Runs `services`, in this order, until `stop` is set or a shutdown is requested.

    When the servers (Kafka, PostgreSQL, Redis) are healthy, the command `initialize` runs. It must succeed before the
    dataflows, the API and the other processes that need topics and tables start. `before_initialize` runs in this
    process directly before it. `observe` is called with every state that is written. `rescale_task` changes the number
    of a dataflow's processes; None disables rescaling. With `source_watcher`, services restart when their code changes.
    `predecessor` is the last state of a supervisor that was killed: its processes are taken over (`takeover.py`).
    """

    home: Home
    services: list[ProcessSpec]
    initialize: tuple[str, ...] = ()
    initialize_environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    before_initialize: Callable[[], None] = lambda: None
    observe: Callable[[PlatformState], None] = lambda state: None
    rescale_task: RescaleTask | None = None
    source_watcher: SourceWatcher | None = None
    predecessor: PlatformState | None = None
    state: PlatformState = field(default_factory=lambda: initial_state("starting"))
    stop: bool = False
    _children: list[Child] = field(default_factory=list)
    _initializing: subprocess.Popen[bytes] | None = None
    _initialized: bool = False
    _written_at: float = 0.0

    def run(self) -> None:
        """Run until the platform is stopped. If the initialization fails, stops everything and raises DeployError."""
        self._children = [Child(service, self.home) for service in self.services]
        self._initialized = not self.initialize
        self._take_over()
        server = control.listen(self.home)
        try:
            self._publish(Phase.STARTING, "starting services")
            while not self.stop:
                self._step()
                self._serve(server)
        finally:
            self._shut_down(server)

    def _take_over(self) -> None:
        """Adopt the processes of the predecessor, or end them. Discard the reports of all that do not run."""
        adopted, ended, complete = takeover.adopt_or_end(self.predecessor, self._children)
        self._initialized = self._initialized or complete
        if ended:
            print(f"ended processes of an earlier supervisor: {', '.join(ended)}", flush=True)
        if adopted:
            print(f"took over processes of an earlier supervisor: {', '.join(adopted)}", flush=True)
        for path in self.home.stats.glob("*.json"):
            if path.stem not in adopted:
                path.unlink()
        if self.predecessor is not None and not complete:
            release_suspensions(self.home)

    def _step(self) -> None:
        for child in self._children:
            child.step(self._blocked_by(child))
        if not self._initialized:
            self._step_initialize()
        if self.rescale_task is not None:
            self._children = self.rescale_task.step(self._children)
        if self.source_watcher is not None:
            self._restart_edited(self.source_watcher)
        all_healthy = self._initialized and all(c.status is ChildStatus.HEALTHY for c in self._children if c.should_run)
        phase = Phase.RUNNING if all_healthy or self.state.phase is Phase.RUNNING else Phase.STARTING
        unhealthy = [c.service.name for c in self._children if c.status is not ChildStatus.HEALTHY]
        self._publish(phase, f"not healthy: {', '.join(unhealthy)}" if unhealthy else "all healthy")

    def _restart_edited(self, source_watcher: SourceWatcher) -> None:
        names = {child.service.replica_of or child.service.name for child in self._children}
        if self.rescale_task is not None and any(self.rescale_task.is_rescaling(name) for name in names):
            return  # handle edits after the rescale, when the processes are final
        if not (edited := source_watcher.changed_files(time.monotonic())):
            return
        affected = [child for child in self._children if source_watcher.affects(child.service, edited)]
        print(f"edited: {', '.join(path.name for path in edited)}; services restarted: {len(affected)}", flush=True)
        for child in affected:
            child.request_restart()

    def _blocked_by(self, child: Child) -> str | None:
        """Return what a child must wait for, or None. Without Kafka, a dataflow would crash and count as failed."""
        if child.service.kind in (ProcessKind.SERVICE, ProcessKind.DASHBOARD):
            return None
        required = [c for c in self._children if c.service.name in REQUIRED_BY_DATAFLOWS]
        missing = [c.service.name for c in required if c.status is not ChildStatus.HEALTHY]
        if missing:
            return " and ".join(missing)
        return None if self._initialized else "topics and tables"

    def _step_initialize(self) -> None:
        services = [child for child in self._children if child.service.kind is ProcessKind.SERVICE]
        log = self.home.logs / "initialize.log"
        if self._initializing is None:
            if all(child.status is ChildStatus.HEALTHY for child in services):
                self.before_initialize()
                with log.open("wb") as out:
                    self._initializing = subprocess.Popen(
                        self.initialize,
                        cwd=REPOSITORY,
                        env=dict(self.initialize_environment),
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                    )
            return
        status = self._initializing.poll()
        if status is not None:
            self._initializing, self._initialized = None, status == 0
            if status != 0:
                raise DeployError(f"{tail(log).removeprefix('error: ')} (see {log})")

    def _handle_request(self, action: str, name: str, count: int) -> str | None:
        """Execute a request from the control socket. Return why it is rejected, or None."""
        if action == "shutdown":
            self.stop = True
            return None
        children = [child for child in self._children if name in (child.service.name, child.service.replica_of)]
        if not children:
            return f"unknown service {name!r}; expected one of {', '.join(c.service.name for c in self._children)}"
        if children[0].external:
            return f"cannot {action} {name}: it is external, its address comes from the environment"
        if self.rescale_task is not None and self.rescale_task.is_rescaling(name):
            return f"{name} is being rescaled; try again in a moment"
        if action == "start":
            for child in children:
                child.request_start()
        elif action == "stop":
            for child in children:
                child.request_stop()
        elif action == "scale" and self.rescale_task is not None:
            if (error := self.rescale_task.begin(name, count, children)) is not None:
                return error
        else:
            return f"unknown action {action!r}"
        self._publish(self.state.phase, f"{action} {name}")
        return None

    def _serve(self, server: socket.socket) -> None:
        """Handle control requests until the loop period ends."""
        deadline = time.monotonic() + _LOOP_S
        while not self.stop and (remaining_s := deadline - time.monotonic()) > 0:
            server.settimeout(remaining_s)
            control.answer_request(server, self._handle_request)

    def _shut_down(self, server: socket.socket) -> None:
        server.close()
        (self.home.run / "control.sock").unlink(missing_ok=True)
        if self._initializing is not None:
            self._initializing.kill()
            self._initializing.wait()
        if self.rescale_task is not None:
            self.rescale_task.abandon()
        for kind in STOP_ORDER:
            group = [child for child in self._children if child.service.kind is kind]
            for child in reversed(group):
                child.request_stop()
            # External services have no process and nothing to wait for.
            while any(child.running for child in group):
                for child in group:
                    child.step(None)
                self._publish(Phase.STOPPING, f"stopping {kind}s")
                time.sleep(0.05)
        self._publish(Phase.STOPPED, "stopped")

    def _publish(self, phase: Phase, message: str) -> None:
        children = tuple(child.state() for child in self._children)
        now = time.time()
        rescale = self.rescale_task.progress if self.rescale_task is not None else ""
        previous = (self.state.phase, self.state.message, self.state.children, self.state.rescale)
        if (phase, message, children, rescale) != previous or now - self._written_at > _HEARTBEAT_S:
            self.state = replace(
                self.state, phase=phase, message=message, children=children, rescale=rescale, updated_at=now
            )
            write_state(self.home, self.state)
            self._written_at = now
            self.observe(self.state)


def release_suspensions(home: Home) -> None:
    """Let suspended services start again."""
    for suspension in suspension_files.release_all(home.run):
        print(f"released {suspension.service}, which was suspended: {suspension.reason}", flush=True)
