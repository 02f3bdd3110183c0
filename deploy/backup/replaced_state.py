"""Move the state of a platform to a dated folder while a backup is restored, and back if the restore fails.

A restore that was killed leaves the file `restore.json` in the state folder. `start` then refuses, and the next
restore first moves the old state back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.state import replace_file

STATE_FOLDERS = ("data", "recovery", "models", "checkpoints")
_START_OPTIONS = "start.json"


def state_of(home: Home) -> list[str]:
    """Return what the state folder contains: topics, database, recovery stores."""
    return [
        what
        for what, exists in (
            ("topics", (home.data / "kafka" / "meta.properties").exists()),
            ("a database", (home.data / "postgres" / "PG_VERSION").exists()),
            ("recovery stores", any(home.recovery.rglob("part-*.sqlite3"))),
        )
        if exists
    ]


def require_finished_restore(home: Home) -> None:
    """Raises DeployError if a restore into this state folder was interrupted."""
    if _marker(home).exists():
        raise DeployError(
            f"a restore into {home.root} was interrupted, so its state is incomplete; run "
            "`python cli.py restore FILE` again"
        )


def require_no_state(home: Home, *, force: bool) -> None:
    """Raises DeployError if the state folder has state and `force` is false."""
    state = state_of(home)
    if state and not force:
        raise DeployError(
            f"{home.root} already has {', '.join(state)}; use --force to move them to a dated folder and to restore "
            "the backup, or restore into another PLATFORM_HOME"
        )


@contextmanager
def replaced_state(home: Home) -> Iterator[Path | None]:
    """Move the state to `before-restore-…`, and yield that folder, or None if there is no state.

    If the block fails, what it made is removed, and the old state is moved back. Nothing of the old state is deleted.
    """
    undo_interrupted_restore(home)
    folder = home.root / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = [name for name in STATE_FOLDERS if (home.root / name).exists()]
    had_state, had_options = bool(state_of(home)), (home.run / _START_OPTIONS).exists()
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise DeployError(f"cannot create {folder}: {error.strerror}") from error
    if had_options:
        shutil.copy2(home.run / _START_OPTIONS, folder / _START_OPTIONS)
    tree = {"old_state": folder.name, "folders": names, "had_options": had_options}
    replace_file(_marker(home), json.dumps(tree))
    for name in names:
        (home.root / name).rename(folder / name)
    home.create_folders()
    try:
        yield folder if had_state else None
    except BaseException:
        undo_interrupted_restore(home)
        raise
    _remove_empty_folders(folder)
    _marker(home).unlink()


def undo_interrupted_restore(home: Home) -> None:
    """Move the old state of a failed or interrupted restore back; no effect without one."""
    try:
        tree = json.loads(_marker(home).read_text())
        old_state, folders, had_options = home.root / str(tree["old_state"]), tree["folders"], tree["had_options"]
    except FileNotFoundError:
        return
    for name in STATE_FOLDERS:
        if name not in folders:
            shutil.rmtree(home.root / name, ignore_errors=True)  # there was none before the restore
        elif (old_state / name).exists():
            shutil.rmtree(home.root / name, ignore_errors=True)
            (old_state / name).rename(home.root / name)
    if had_options and (old_state / _START_OPTIONS).exists():
        (old_state / _START_OPTIONS).replace(home.run / _START_OPTIONS)
    elif not had_options:
        (home.run / _START_OPTIONS).unlink(missing_ok=True)
    if old_state.exists():
        old_state.rmdir()
    _marker(home).unlink()


def _remove_empty_folders(folder: Path) -> None:
    """Remove `folder` and its subfolders as far as they have no files."""
    for path in [*sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True), folder]:
        with suppress(OSError):
            path.rmdir()


def _marker(home: Home) -> Path:
    return home.root / "restore.json"
