"""Copy recovery stores as of one moment, also those of running services, and write them back.

A store has several SQLite files. Copies from different moments would not fit together: one file may already lack the
states that another one still needs. A copy therefore counts only if no file changed during it, and if Bytewax could
resume from it: no part has been committed beyond the epoch at which the store resumes.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.recovery_store import copy_store
from deploy.supervisor.layout import dataflow_names
from deploy.supervisor.replicas import replicas_of, store_of

ATTEMPTS, PAUSE_S = 100, 0.05


def store_folders(home: Home) -> dict[str, Path]:
    """Return the folder of each store by name: `risk`, `features/1of3`. Raises DeployError if one is missing."""
    folders = {}
    for service in dataflow_names(home):
        for replica in replicas_of(home, service):
            name = service if replica.total == 1 else f"{service}/{replica}"
            folders[name] = store_of(home, service, replica)
    missing = [name for name, folder in folders.items() if not any(folder.glob("part-*.sqlite3"))]
    if missing:
        raise DeployError(
            f"{home.recovery} has no recovery store of {', '.join(missing)}; a backup needs the state folder of the "
            "machine on which the dataflows run, after the first start"
        )
    return folders


@contextmanager
def copied_stores(home: Home) -> Iterator[dict[str, Path]]:
    """Yield consistent copies of all stores, by name, in a temporary folder of the state folder."""
    home.run.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.run, prefix="backup-stores-") as folder:
        copies = {}
        for name, store in store_folders(home).items():
            copies[name] = Path(folder) / name
            copy_consistently(store, copies[name])
        yield copies


def copy_consistently(folder: Path, target: Path) -> None:
    """Copy a store to `target`, each part as one file without a log. Raises DeployError if it changes too often."""
    for _ in range(ATTEMPTS):
        shutil.rmtree(target, ignore_errors=True)
        before = _file_stamps(folder)
        copy_store(folder, target)
        if _file_stamps(folder) == before and _can_resume(target):
            return
        time.sleep(PAUSE_S)
    raise DeployError(f"{folder} changed during each of {ATTEMPTS} copies; try again, or stop the platform")


def _file_stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return time of change (ns) and size of the files of a store, including their write-ahead logs."""
    stamps = {}
    for path in folder.glob("part-*.sqlite3*"):
        if not path.name.endswith("-shm"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # a write-ahead log that was just removed; the stamps then differ
            stamps[path.name] = (stat.st_mtime_ns, stat.st_size)
    return stamps


def _can_resume(folder: Path) -> bool:
    """Whether Bytewax can resume from a copied store. Merges each write-ahead log into its file."""
    fronts: dict[int, dict[int, int]] = {}  # execution -> worker -> frontier
    resumes: dict[int, int] = {}
    commits = [0]
    part_count, indexes = 0, set()
    for part in sorted(folder.glob("part-*.sqlite3")):
        try:
            with closing(sqlite3.connect(part)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                for index, count in database.execute("SELECT part_index, part_count FROM parts"):
                    indexes.add(index)
                    part_count = count
                resumes |= dict(database.execute("SELECT ex_num, resume_epoch FROM exs"))
                for execution, worker, frontier in database.execute(
                    "SELECT ex_num, worker_index, worker_frontier FROM fronts"
                ):
                    workers = fronts.setdefault(execution, {})
                    workers[worker] = max(frontier, workers.get(worker, frontier))
                commits += [epoch for (epoch,) in database.execute("SELECT commit_epoch FROM commits")]
        except sqlite3.DatabaseError:
            return False
    if len(indexes) != part_count:
        raise DeployError(f"{folder.name}: recovery store has {len(indexes)} of its {part_count} parts")
    last = max(resumes, default=None)
    resume_epoch = 1 if last is None else min(fronts.get(last, {}).values(), default=resumes[last])
    return max(commits) <= resume_epoch
