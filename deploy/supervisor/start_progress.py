"""Show the progress of a start or stop, one line per change."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable

from rich.console import Console

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.child import end_orphans
from deploy.supervisor.processes import end_process, tail
from deploy.supervisor.state import ChildState, ChildStatus, Phase, PlatformState, read_state, running_state

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 90.0


class ProgressPrinter:
    """Prints what has changed since the last state; the first is compared with `previous`."""

    def __init__(self, console: Console, previous: PlatformState | None = None) -> None:
        self._console = console
        self._started_at = time.monotonic()
        self._last = previous

    def __call__(self, state: PlatformState) -> None:
        previous_status = {child.name: child.status for child in self._last.children} if self._last else {}
        if state.phase is Phase.PREPARING and (self._last is None or self._last.message != state.message):
            self._print_line(state.message)
        for child in state.children:
            if previous_status.get(child.name, ChildStatus.WAITING) is not child.status:
                self._print_line(_describe(child))
        self._last = state

    def _print_line(self, line: str) -> None:
        elapsed = f"{time.monotonic() - self._started_at:5.1f} s"
        self._console.print(f"{elapsed}  {line}", highlight=False, markup=False, soft_wrap=True)


def _describe(child: ChildState) -> str:
    descriptions = {
        ChildStatus.STARTING: f"{child.name} starting",
        ChildStatus.HEALTHY: f"{child.name} healthy",
    }
    return descriptions.get(child.status) or f"{child.name} {child.status}" + (
        f": {child.reason}" if child.reason else ""
    )


def wait_until_started(
    home: Home,
    supervisor: subprocess.Popen[bytes],
    show: Callable[[PlatformState], None],
    timeout_s: float = START_TIMEOUT_S,
) -> PlatformState:
    """Wait until all services are healthy. Raises DeployError with the unhealthy service and its log."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        has_ended = supervisor.poll() is not None
        state = read_state(home)
        if state is not None and state.supervisor_pid == supervisor.pid:
            show(state)
            if state.phase is Phase.FAILED:
                raise DeployError(state.message)
            if state.phase is Phase.RUNNING:
                return state
            failed = next((child for child in state.children if child.status is ChildStatus.FAILED), None)
            if failed is not None:
                raise DeployError(f"{failed.name}: {failed.reason} (log: {home.logs / failed.name}.log)")
        if has_ended:
            log = home.logs / "supervisor.log"
            raise DeployError(tail(log).removeprefix("error: ") or f"the supervisor exited (log: {log})")
        time.sleep(0.1)
    state = read_state(home)
    waiting = [child for child in (state.children if state else ()) if child.status is not ChildStatus.HEALTHY]
    detail = (
        f"{waiting[0].name}: {waiting[0].reason} (log: {home.logs / waiting[0].name}.log)" if waiting else "unknown"
    )
    raise DeployError(f"not healthy within {timeout_s:.0f} s: {detail}")


def stop_platform(home: Home, show: Callable[[PlatformState], None]) -> bool:
    """Stop the platform, or the processes that a killed supervisor left. Return False if nothing ran.

    The data remain. Raises DeployError if the supervisor does not stop in time.
    """
    state = running_state(home)
    if state is None:
        stale = read_state(home)
        return bool(stale is not None and end_orphans(stale.children))
    deadline = time.monotonic() + STOP_TIMEOUT_S
    with contextlib.suppress(ProcessLookupError):
        os.kill(state.supervisor_pid, signal.SIGTERM)
    while state.supervisor.alive():
        if (current := read_state(home)) is not None:
            show(current)
        if time.monotonic() > deadline:
            end_process(state.supervisor, timeout_s=1.0)
            end_orphans(state.children)
            raise DeployError(f"the supervisor (pid {state.supervisor_pid}) did not stop within {STOP_TIMEOUT_S:.0f} s")
        time.sleep(0.1)
    return True
