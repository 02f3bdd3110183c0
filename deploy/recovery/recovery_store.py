"""Read a Bytewax recovery store from a copy, because the store belongs to the process that writes it.

A store is a folder of SQLite files in WAL mode. A copy of a file is consistent if, meanwhile, the database file did not
change and its WAL was only appended to; else the copy is repeated.
"""

from __future__ import annotations

import io
import pickle
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
    parts = sorted(folder.glob("part-*.sqlite3"))
    if not parts:
        raise DeployError(f"no recovery store in {folder}")
    target.mkdir(parents=True, exist_ok=True)
    for part in parts:
        _copy_part(part, target / part.name)


def _copy_part(part: Path, target: Path) -> None:
    wal, wal_target = Path(f"{part}-wal"), Path(f"{target}-wal")
    for _ in range(ATTEMPTS):
        stamp = _file_stamp(part, wal)
        shutil.copyfile(part, target)
        wal_target.unlink(missing_ok=True)
        if wal.exists():
            shutil.copyfile(wal, wal_target)
        if _file_stamp(part, wal) == stamp:
            return
        time.sleep(PAUSE_S)
    raise DeployError(f"{part} changed during each of {ATTEMPTS} copies; try again, or stop the service")


def _file_stamp(part: Path, wal: Path) -> tuple[int, int, bytes]:
    stat = part.stat()
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
        for part in sorted(copy.glob("part-*.sqlite3")):
            try:
                with closing(sqlite3.connect(part)) as database:
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
                raise DeployError(f"cannot read {folder / part.name}: {error}") from error
    snapshots = [_snapshot(step, key, *rows[step, key]) for step, key in sorted(rows)]
    return RecoveryStore(
        resume_epoch, execution + 1, [snapshot for snapshot in snapshots if snapshot.state is not None]
    )


@contextmanager
def _temporary_copy(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="snapshots-") as name:
        copy = Path(name)
        copy_store(folder, copy)
        yield copy


def _snapshot(step: str, key: str, epoch: int, pickled: bytes | None) -> StateSnapshot:
    if pickled is None:
        return StateSnapshot(step, key, epoch, 0, None)
    try:
        state = _PlainUnpickler(io.BytesIO(pickled)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
        raise DeployError(f"cannot read the state of step {step}, key {key}: {error}") from error
    return StateSnapshot(step, key, epoch, len(pickled), state)
