"""Start, identify and end processes. A process is identified by pid and start time, never by pid alone."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.home import PRIVATE_UMASK
from deploy.local.privileges import become_user, tie_to_parent


@dataclass(frozen=True)
class ProcessIdentity:
    """Identifies a process, also against a later one with the same pid. `started_at` is in seconds since the epoch."""

    pid: int
    started_at: float

    def alive(self) -> bool:
        """Return whether this process runs. A zombie does not."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started_at) < 0.05 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of the process that has this pid now; None if there is none."""
    try:
        return ProcessIdentity(pid, psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    cwd: Path,
    uid: int | None = None,
    retain_search_capability: bool = False,
    tied: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a child in its own session. It appends to `log`, so that the file can be truncated in place.

    With `uid` the child switches from root to that user; with `retain_search_capability` it can still enter all folders
    (see `deploy.local.privileges`). The kernel kills a `tied` child when the thread that started it ends.
    """

    def before_exec() -> None:
        if uid is not None:
            become_user(uid, retain_search_capability=retain_search_capability)
        if tied:
            tie_to_parent()

    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as out:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            umask=PRIVATE_UMASK,
            preexec_fn=before_exec if tied or uid is not None else None,
        )


def end_process(identity: ProcessIdentity, *, timeout_s: float, first_signal: signal.Signals = signal.SIGTERM) -> bool:
    """End any process: send `first_signal`, wait `timeout_s`, then send SIGKILL.

    Return whether it ended without SIGKILL.
    """
    if not identity.alive():
        return True
    try:
        os.kill(identity.pid, first_signal)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not identity.alive():
                return True
            time.sleep(0.05)
        os.kill(identity.pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False


def rotate_log(log: Path, *, size_max: int = 20_000_000, copies_max: int = 3) -> None:
    """Rotate a log that a child appends to: copy and truncate it in place if it exceeds `size_max` bytes."""
    try:
        if log.stat().st_size <= size_max:
            return
    except FileNotFoundError:
        return
    for number in range(copies_max - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.with_name(f"{log.name}.1").write_bytes(log.read_bytes())
    os.truncate(log, 0)


def tail(log: Path, lines: int = 1) -> str:
    """Return the last non-empty lines of a log; an empty string if there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def last_log_message(log: Path) -> str:
    """Return the last line of a log, or only its event if it is a JSON line of `configs.logs`."""
    line = tail(log)
    try:
        tree = json.loads(line)
    except ValueError:
        return line
    return str(tree["event"]) if isinstance(tree, dict) and "event" in tree else line
