"""Run a preview of a configuration in a process of its own, one at a time on a host, with limits of time and memory."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Connection, func, select

from api.problems import Conflict
from configs.configuration_publishing import Changes
from configs.settings import Settings
from schemas.errors import BadInput, Unavailable
from sinks.tables import valuations

log = structlog.get_logger(__name__)

MODULE: Final = "deploy.checkpoints.preview"
"""Started as a process: the API imports neither the replay nor the checkpoints."""
REPOSITORY: Final = Path(__file__).resolve().parents[1]
MEMORY_LIMIT_BYTES: Final = 2 * 2**30
DAY_NS: Final = 86_400_000_000_000


def newest_ns(db: Connection) -> int:
    """Return the event time of the last time slice in the books. Raises BadInput if there is none."""
    newest = db.execute(select(func.max(valuations.c.ts_ns))).scalar()
    if newest is None:
        raise BadInput("there is nothing to preview: the books have no time slice yet")
    return int(newest)


def run_preview(
    settings: Settings, changes: Changes, since_ns: int, *, home: Path, time_limit_s: float, from_start: bool = False
) -> Any:
    """Return the result of `deploy/checkpoints/preview.py` for changes. `home` is the state folder of the platform.

    The replay begins at the newest checkpoint before `since_ns`. With `from_start`, or without a checkpoint, it begins
    with the recording.

    Raises Conflict while another preview runs, BadInput for an invalid change or recording, and Unavailable if the
    preview fails or exceeds its limits.
    """
    request = {
        "home": home,
        "settings": settings,
        "changes": dict(changes),
        "since_ns": since_ns,
        "from_start": from_start,
        "time_limit_s": time_limit_s,
        "memory_limit_bytes": MEMORY_LIMIT_BYTES,
    }
    with _only_one(home / "run"):
        result = _answer(pickle.dumps(request), time_limit_s)
    if "invalid" in result:
        raise BadInput(result["invalid"])
    if "unavailable" in result:
        raise Unavailable(result["unavailable"])
    for sentence in result["skipped"]:
        log.warning("a preview has skipped a checkpoint", reason=sentence)
    return result


def _answer(request: bytes, time_limit_s: float) -> Any:
    command = (sys.executable, "-m", MODULE)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    try:
        done = subprocess.run(
            command,
            input=request,
            env=environment,
            cwd=REPOSITORY,
            capture_output=True,
            timeout=time_limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"the preview did not finish within {time_limit_s:g} s, because it replays the recording since the last "
            "checkpoint before the period; run it on the host: `python cli.py config set SETTING=VALUE --preview "
            "--time-limit SECONDS`"
        ) from error
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        log.error("preview failed", status=done.returncode, error=lines[-1] if lines else "")
        raise Unavailable(
            f"the preview failed with status {done.returncode}; the log of the API has details"
        ) from error


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock of previews. Raises Conflict while another process or thread holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "preview.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict("Another preview is running on this host. Try again when it has finished.") from error
        yield
