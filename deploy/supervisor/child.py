"""State machine of one supervised child process. The supervisor calls `step` a few times a second."""

import functools
import signal
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field

import structlog

from dataflows.runtime import suspension_files
from dataflows.runtime.exit_status import HANDLER_TIMED_OUT
from deploy.home import REPOSITORY, Home
from deploy.supervisor.adopted_process import UNKNOWN_STATUS, AdoptedProcess
from deploy.supervisor.process_fingerprint import fingerprint
from deploy.supervisor.process_spec import ProcessKind, ProcessSpec
from deploy.supervisor.processes import ProcessIdentity, end_process, identify, last_log_message, rotate_log, spawn
from deploy.supervisor.state import ChildState, ChildStatus

logger = structlog.get_logger(__name__)

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.2, 10.0
UNHEALTHY_EXITS_MAX = 6
"""Number of exits in a row, without a healthy period in between, from which on they are a crash loop."""
STOP_ORDER = (
    ProcessKind.ALERTS,
    ProcessKind.CHECKS,
    ProcessKind.DASHBOARD,
    ProcessKind.API,
    ProcessKind.DATAFLOW,
    ProcessKind.SERVICE,
)
EXITS_MAX, EXITS_WINDOW_S = 30, 600.0
_PROBE_STARTING_S, _PROBE_RUNNING_S, _ROTATE_S = 0.25, 4.0, 30.0


@dataclass
class Child:
    """One service. A service without a command is external: it is monitored, and never started or stopped."""

    service: ProcessSpec
    home: Home
    should_run: bool = True
    status: ChildStatus = ChildStatus.WAITING
    reason: str | None = None
    restarts: int = 0
    identity: ProcessIdentity | None = None
    _process: subprocess.Popen[bytes] | AdoptedProcess | None = None
    _started_at: float = 0.0
    _retry_at: float = 0.0
    _probe_at: float = 0.0
    _rotate_at: float = 0.0
    _kill_at: float = 0.0
    _unhealthy_exits: int = 0
    _restarting: bool = False
    _exits: deque[float] = field(default_factory=lambda: deque(maxlen=EXITS_MAX))

    @property
    def external(self) -> bool:
        return not self.service.command

    @property
    def running(self) -> bool:
        return self._process is not None

    def state(self) -> ChildState:
        return ChildState(
            name=self.service.name,
            kind=self.service.kind,
            status=self.status,
            pid=self.identity.pid if self.identity else None,
            process_started_at=self.identity.started_at if self.identity else None,
            restarts=self.restarts,
            reason=self.reason,
            external=self.external,
            replica_of=self.service.replica_of,
            fingerprint=self.fingerprint,
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.service)

    def adopt(self, state: ChildState) -> bool:
        """Supervise the running process of an earlier supervisor. Return False if it has already ended."""
        assert self._process is None, f"{self.service.name} already runs"
        try:
            assert state.identity is not None, f"{state.name} has no process"
            self._process = AdoptedProcess(state.identity)
        except ProcessLookupError:
            return False
        self.identity, self.restarts = state.identity, state.restarts
        self.status, self.reason = ChildStatus.STARTING, "taken over"
        self._started_at = time.monotonic()
        return True

    def step(self, waiting_for: str | None) -> None:
        """Handle an exit, probe the child or start it. `waiting_for` names what must be healthy first, or is None."""
        now = time.monotonic()
        if self._process is not None and (returncode := self._process.poll()) is not None:
            self._handle_exit(returncode, now)
        if self._process is not None:
            self._supervise(now)
        elif self.external:
            self._probe(now)
        elif (
            self.should_run and self.status not in (ChildStatus.FAILED, ChildStatus.SUSPENDED) and now >= self._retry_at
        ):
            if waiting_for is None:
                self._start(now)
            else:
                self.status, self.reason = ChildStatus.WAITING, f"waiting for {waiting_for}"

    def request_start(self) -> None:
        """Start the child, also after it was stopped, has failed or is suspended."""
        self.should_run = True
        suspension_files.release_suspension(self.home.run, self.service.name)
        if self.status in (ChildStatus.STOPPED, ChildStatus.FAILED, ChildStatus.SUSPENDED, ChildStatus.BACKING_OFF):
            self.status, self.reason, self._retry_at, self._unhealthy_exits = ChildStatus.WAITING, None, 0.0, 0
            self._exits.clear()

    def request_stop(self) -> None:
        """Stop the child and keep it stopped. Return at once; `step` kills it after `stop_timeout_s`."""
        self.should_run = False
        if self._process is None:
            self.status, self.reason = ChildStatus.STOPPED, None
        elif self.status is not ChildStatus.STOPPING:
            self.status, self.reason = ChildStatus.STOPPING, None
            self._kill_at = time.monotonic() + self.service.stop_timeout_s
            self._process.send_signal(self.service.stop_signal)

    def request_restart(self) -> None:
        """Stop the child gracefully and start it with the current code and settings.

        A failed child is started. A child that was stopped by request or is suspended does not change.
        """
        if not self.should_run or self.status is ChildStatus.SUSPENDED:
            return
        if self._process is None:
            self.request_start()
        elif self.status is not ChildStatus.STOPPING:
            self.request_stop()
            self.should_run, self._restarting = True, True

    def _start(self, now: float) -> None:
        log = self.home.logs / f"{self.service.name}.log"
        rotate_log(log)
        try:
            self._process = spawn(
                self.service.command,
                log=log,
                env=self.service.environment,
                cwd=REPOSITORY,
                uid=self.service.uid,
                retain_search_capability=self.service.retain_search_capability,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self.status, self.reason = ChildStatus.FAILED, f"cannot start: {error}"
            return
        self.identity = identify(self._process.pid)
        logger.info("service started", about=self.service.name, pid=self._process.pid)
        self.status, self.reason = ChildStatus.STARTING, "process started"
        self._started_at = now
        self._probe_at = now + _PROBE_STARTING_S

    def _supervise(self, now: float) -> None:
        if self.status is ChildStatus.STOPPING:
            if now > self._kill_at and self._process is not None:
                self._process.kill()
            return
        self._probe(now)
        if now >= self._rotate_at:
            rotate_log(self.home.logs / f"{self.service.name}.log")
            self._rotate_at = now + _ROTATE_S

    def _probe(self, now: float) -> None:
        if now < self._probe_at:
            return
        self.reason = self.service.probe(self.identity.pid if self.identity else 0)
        if self.reason is None:
            self.status = ChildStatus.HEALTHY
            self._unhealthy_exits = 0
        elif self.status is not ChildStatus.STARTING or now - self._started_at > self.service.start_grace_s:
            self.status = ChildStatus.UNHEALTHY
        # Count from the end of the probe: a slow service must not take all of the supervisor's time.
        interval_s = _PROBE_RUNNING_S if self.status is ChildStatus.HEALTHY else _PROBE_STARTING_S
        self._probe_at = time.monotonic() + interval_s

    def _handle_exit(self, returncode: int, now: float) -> None:
        self._process, self.identity = None, None
        restarting, self._restarting = self._restarting, False
        if not self.should_run:
            self.status, self.reason = ChildStatus.STOPPED, None
            return
        suspension = suspension_files.read_suspension(self.home.run, self.service.name)
        if suspension is not None:
            self.status, self.reason = ChildStatus.SUSPENDED, suspension.reason
            logger.error("service suspended", about=self.service.name, reason=suspension.reason, at_ns=suspension.at_ns)
            return
        if restarting:
            self.status, self.reason, self._retry_at, self._unhealthy_exits = ChildStatus.WAITING, None, 0.0, 0
            return
        self.restarts += 1
        # Each such exit suspends a strategy, so that their number is bounded: no crash loop.
        self._unhealthy_exits = 1 if returncode == HANDLER_TIMED_OUT else self._unhealthy_exits + 1
        self._exits.append(now)
        exit_text = _exit_text(returncode)
        last_message = last_log_message(self.home.logs / f"{self.service.name}.log")
        self.reason = f"{exit_text}; last log entry: {last_message}" if last_message else exit_text
        too_frequent = len(self._exits) == EXITS_MAX and now - self._exits[0] < EXITS_WINDOW_S
        if self._unhealthy_exits >= UNHEALTHY_EXITS_MAX or too_frequent:
            self.status, self.reason = ChildStatus.FAILED, f"crash loop: {self.reason}"
        else:
            self.status = ChildStatus.BACKING_OFF
            self._retry_at = now + min(BACKOFF_FIRST_S * 2 ** (self._unhealthy_exits - 1), BACKOFF_MAX_S)
        logger.error(
            "service exited", about=self.service.name, restarts=self.restarts, now=self.status, reason=self.reason
        )


def _exit_text(returncode: int) -> str:
    if returncode == UNKNOWN_STATUS:
        return "ended with an unknown status"
    return f"exited with status {returncode}" if returncode >= 0 else f"was killed by signal {-returncode}"


def end_orphans(children: tuple[ChildState, ...]) -> list[str]:
    """End the processes that a killed supervisor left, identified by pid and start time. Return their names."""
    ended_names = []
    for kind in STOP_ORDER:
        for child in reversed(children):
            identity = child.identity
            if child.kind == kind and identity is not None and identity.alive():
                # On SIGTERM, PostgreSQL waits until the last client has disconnected.
                end_process(
                    identity, timeout_s=15.0, first_signal=signal.SIGINT if child.name == "postgres" else signal.SIGTERM
                )
                ended_names.append(child.name)
    return ended_names
