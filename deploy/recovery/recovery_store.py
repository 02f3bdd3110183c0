"""Read a Bytewax recovery store from a copy, because the store belongs to the process that writes it.

A store is a folder of SQLite files in WAL mode. A copy of a file is consistent if the database file did not change
during the copy and its WAL was only appended to. Otherwise, the copy is repeated.
"""

from __future__ import annotations

import io
import pickle
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from deploy.errors import DeployError

ATTEMPTS, PAUSE_S = 50, 0.1
_WAL_HEADER_BYTES = 32  # contains the salts, which change when the WAL restarts
_PLAIN_TYPES = {("decimal", "Decimal"), ("collections", "OrderedDict"), ("collections", "deque")}


class StateSnapshot(NamedTuple):
    """The newest state of one step and key. `bytes` is its pickled size, `state` is plain tuples, dicts and numbers."""

    step: str
    key: str
    epoch: int
    bytes: int
    state: Any


class StoredState(NamedTuple):
    """The state of one step and key at a store's resume epoch. Bytewax stores this key in the file `file_name`."""

    file_name: str
    step: str
    key: str
    pickled: bytes


class RecoveryStore(NamedTuple):
    """`resume_epoch` is where a restart continues, `start_count` the number of starts of the dataflow."""

    resume_epoch: int
    start_count: int
    snapshots: list[StateSnapshot]


class _PlainUnpickler(pickle.Unpickler):
    """Loads plain data only, which states are (`operators/stage.py`). Rejects a pickle with any other type."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN_TYPES:
            raise pickle.UnpicklingError(f"a state must be plain data, found {module}.{name}")
        return super().find_class(module, name)


def copy_store(folder: Path, target: Path) -> None:
    """Copy a store, also of a running service. Raises DeployError if there is none or it changes too often."""
    store_files = sorted(folder.glob("part-*.sqlite3"))
    if not store_files:
        raise DeployError(f"no recovery store in {folder}")
    target.mkdir(parents=True, exist_ok=True)
    for store_file in store_files:
        _copy_file(store_file, target / store_file.name)


def _copy_file(store_file: Path, target: Path) -> None:
    wal, wal_target = Path(f"{store_file}-wal"), Path(f"{target}-wal")
    for _ in range(ATTEMPTS):
        stamp = _file_stamp(store_file, wal)
        shutil.copyfile(store_file, target)
        wal_target.unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # SQLite removes the log when its last connection closes
            shutil.copyfile(wal, wal_target)
        if _file_stamp(store_file, wal) == stamp:
            return
        time.sleep(PAUSE_S)
    raise DeployError(f"{store_file} changed during each of {ATTEMPTS} copies; try again, or stop the service")


def _file_stamp(store_file: Path, wal: Path) -> tuple[int, int, bytes]:
    stat = store_file.stat()
    try:
        with wal.open("rb") as file:
            header = file.read(_WAL_HEADER_BYTES)
    except FileNotFoundError:
        header = b""
    return stat.st_mtime_ns, stat.st_size, header


def read_store(folder: Path) -> RecoveryStore:
    """Read a store from a temporary copy. Raises DeployError if there is none or it is unreadable."""
    with _temporary_copy(folder) as copy:
        rows: dict[tuple[str, str], tuple[int, bytes | None]] = {}
        resume_epoch = execution = 0
        for store_file in sorted(copy.glob("part-*.sqlite3")):
            try:
                with closing(sqlite3.connect(store_file)) as database:
                    changes = database.execute("SELECT step_id, state_key, snap_epoch, ser_change FROM snaps")
                    for step, key, epoch, state in changes:
                        if epoch >= rows.get((step, key), (-1, None))[0]:
                            rows[step, key] = (epoch, state)
                    query = (
                        "SELECT ex_num, MIN(worker_frontier) FROM fronts GROUP BY ex_num ORDER BY ex_num DESC LIMIT 1"
                    )
                    for number, frontier in database.execute(query):
                        if number >= execution:
                            execution, resume_epoch = number, frontier
            except sqlite3.DatabaseError as error:
                raise DeployError(f"cannot read {folder / store_file.name}: {error}") from error
    snapshots = [_snapshot(step, key, *rows[step, key]) for step, key in sorted(rows)]
    return RecoveryStore(
        resume_epoch, execution + 1, [snapshot for snapshot in snapshots if snapshot.state is not None]
    )


def read_resume_states(folder: Path) -> list[StateSnapshot]:
    """Return the states from which a restart would continue, from a temporary copy of the store. Raises DeployError.

    They are older than the newest snapshots if the dataflow was killed in the middle of an epoch. The list is empty if
    no epoch was completed.
    """
    with _temporary_copy(folder) as copy:
        try:
            if resume_epoch(copy) is None:
                return []
            rows = list(stored_states(copy))
        except sqlite3.DatabaseError as error:
            raise DeployError(f"cannot read {folder}: {error}") from error
    return [_snapshot(row.step, row.key, -1, row.pickled) for row in rows]


def count_starts(folder: Path) -> int:
    """Return how often a dataflow started with this store, from a temporary copy; 0 if it was never used.

    Raises DeployError if there is no store or it is unreadable.
    """
    with _temporary_copy(folder) as copy:
        starts = 0
        for store_file in sorted(copy.glob("part-*.sqlite3")):
            try:
                with closing(sqlite3.connect(store_file)) as database:
                    [(newest,)] = database.execute("SELECT max(ex_num) FROM exs")
            except sqlite3.DatabaseError as error:
                raise DeployError(f"cannot read {folder / store_file.name}: {error}") from error
            starts = max(starts, 0 if newest is None else newest + 1)
        return starts


def resume_epoch(store: Path) -> int | None:
    """Return the epoch at which Bytewax resumes; None for a store that was never used.

    A worker that has not finished an epoch since the last start resumes at the start epoch of that start.
    """
    starts: list[tuple[int, int, int]] = []
    fronts: dict[int, list[int]] = {}
    for store_file in sorted(store.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(store_file)) as database:
            starts += database.execute("SELECT ex_num, worker_count, resume_epoch FROM exs")
            for number, frontier in database.execute("SELECT ex_num, worker_frontier FROM fronts"):
                fronts.setdefault(number, []).append(frontier)
    if not starts:
        return None
    number, workers, start_epoch = max(starts)
    frontiers = fronts.get(number, [])
    return min(frontiers) if len(frontiers) == workers else start_epoch


def stored_states(store: Path) -> Iterable[StoredState]:
    """Return what a restart loads: for each step and key, the newest state before the resume epoch."""
    before_epoch = resume_epoch(store)
    query = (
        "SELECT step_id, state_key, ser_change, MAX(snap_epoch) FROM snaps WHERE snap_epoch < ? "
        "GROUP BY step_id, state_key ORDER BY step_id, state_key"
    )
    for store_file in sorted(store.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(store_file)) as database:
            for step, key, pickled, _ in database.execute(query, (before_epoch,)):
                if pickled is not None:
                    yield StoredState(store_file.name, step, key, pickled)


@contextmanager
def _temporary_copy(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="snapshots-") as name:
        copy = Path(name)
        copy_store(folder, copy)
        yield copy


def load_plain(pickled: bytes, what: str) -> Any:
    """Return the plain data in a pickle, such as a state. Raises DeployError, naming `what`, for any other content."""
    try:
        return _PlainUnpickler(io.BytesIO(pickled)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
        raise DeployError(f"cannot read {what}: {error}") from error


def _snapshot(step: str, key: str, epoch: int, pickled: bytes | None) -> StateSnapshot:
    if pickled is None:
        return StateSnapshot(step=step, key=key, epoch=epoch, bytes=0, state=None)
    state = load_plain(pickled, f"the state of step {step}, key {key}")
    return StateSnapshot(step=step, key=key, epoch=epoch, bytes=len(pickled), state=state)
