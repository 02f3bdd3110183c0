"""Find and end the processes that a test run leaves behind, for example when it is interrupted twice.

Every process that a test starts inherits the environment variable `PLATFORM_TEST_RUN`, also a platform that runs in the
background. A run within a test appends its own id to the value, so that the outer run finds its processes, too.
"""

import os
import uuid

import psutil

RUN_VARIABLE = "PLATFORM_TEST_RUN"
_SEPARATOR = "/"


def new_run() -> str:
    """Return the value of `PLATFORM_TEST_RUN` for a new run, below that of the run that this process belongs to."""
    outer = os.environ.get(RUN_VARIABLE)
    own = uuid.uuid4().hex
    return own if outer is None else f"{outer}{_SEPARATOR}{own}"


def end_left_processes(run: str) -> list[str]:
    """Kill the processes that still belong to a run. Return the command line of each."""
    left = [process for process in psutil.process_iter() if _belongs_to(process, run)]
    commands = [_command(process) for process in left]
    for process in left:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(left, timeout=60)
    return commands


def _belongs_to(process: psutil.Process, run: str) -> bool:
    try:
        value = process.environ().get(RUN_VARIABLE, "")
        return (value == run or value.startswith(run + _SEPARATOR)) and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:120]
    except psutil.Error:
        return str(process.pid)
