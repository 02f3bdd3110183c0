"""Find and end the processes that a test run leaves behind, for example when it is interrupted twice.

Every process that a test starts inherits the environment variable `PLATFORM_TEST_RUN`, also a platform that runs in the
background. A run within a test appends its own id to the value, so that the outer run finds its processes, too.
"""

import os
import uuid
from contextlib import suppress

import psutil

from deploy.home import TEST_RUN_VARIABLE

_SEPARATOR = "/"


def new_run() -> str:
    """Return the value of `PLATFORM_TEST_RUN` for a new run, below that of the run that this process belongs to."""
    outer = os.environ.get(TEST_RUN_VARIABLE)
    own = uuid.uuid4().hex
    return own if outer is None else f"{outer}{_SEPARATOR}{own}"


def end_left_processes(run: str) -> list[str]:
    """Kill the processes that still belong to a run. Return the command line of each."""
    commands: list[str] = []
    # A supervisor may start another process while its processes are killed.
    while left := _processes_of(run):
        commands += [_command(process) for process in left]
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=60)
    return commands


def _processes_of(run: str) -> list[psutil.Process]:
    """Return the processes with the run in their environment, and their children: Redis overwrites its environment."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            value = process.environ().get(TEST_RUN_VARIABLE, "")
            if value == run or value.startswith(run + _SEPARATOR):
                found |= {one.pid: one for one in (process, *process.children(recursive=True))}
    return [process for process in found.values() if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:120]
    except psutil.Error:
        return str(process.pid)
