"""Lock the recovery store of this process, so that no second process uses it, and detect a store that was never used.

Bytewax does not notice a second process on one store; the store is then corrupt at the next start. The kernel releases
the lock when the process ends.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from schemas.errors import Unavailable

LOCK_FILE = "store.lock"
_open_locks: list[IO[str]] = []  # an open file holds its lock until the process ends


class StoreArguments(NamedTuple):
    """The store of a `bytewax.run` process, None without recovery, and its number within a cluster of processes."""

    folder: Path | None
    process: int


def store_arguments(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> StoreArguments:
    """Return the store that the arguments of `python -m bytewax.run` name.

    >>> store_arguments(["dataflows.risk", "-r", "recovery/risk", "-s", "1"], {})
    StoreArguments(folder=PosixPath('recovery/risk'), process=0)
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-r", "--recovery-directory", default=environment.get("BYTEWAX_RECOVERY_DIRECTORY"))
    parser.add_argument("-i", "--process-id", default=environment.get("BYTEWAX_PROCESS_ID"))
    known, _ = parser.parse_known_args(list(arguments))
    folder, process = known.recovery_directory, known.process_id
    return StoreArguments(Path(folder) if folder else None, int(process) if process else 0)


def lock_own_store(store: StoreArguments) -> None:
    """Lock the store until this process ends. Raises Unavailable if another process uses it.

    The processes of one Bytewax cluster share a store and lock one file each.
    """
    if store.folder is None:
        return
    _open_locks.append(_lock(store.folder, LOCK_FILE if store.process == 0 else f"{LOCK_FILE}.{store.process}"))


@contextmanager
def locked_store(folder: Path) -> Iterator[None]:
    """Hold the lock of a store during the block, for commands that replace it. Raises Unavailable if it is in use."""
    if not folder.is_dir():
        yield
        return
    with _lock(folder, LOCK_FILE):
        yield


def _lock(folder: Path, name: str) -> IO[str]:
    path = folder / name
    try:
        file = path.open("a+")
    except OSError as error:
        raise Unavailable(f"cannot open {path}: {error.strerror}; restore the recovery store first") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise Unavailable(
            f"recovery store {folder} is in use by {holder or 'another process'}; stop that process first"
        ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()}")
    file.flush()
    return file


def is_unused(folder: Path) -> bool:
    """Return whether no dataflow has ever started with this store.

    Reads copies: a process that opened a store with Python's SQLite must not open it with Bytewax's.
    """
    with tempfile.TemporaryDirectory(prefix="store-") as name:
        for part in sorted(folder.glob("part-*.sqlite3")):
            copy = Path(name) / part.name
            for suffix in ("", "-wal"):
                if Path(f"{part}{suffix}").exists():
                    shutil.copyfile(f"{part}{suffix}", f"{copy}{suffix}")
            with closing(sqlite3.connect(copy)) as database:
                [(starts,)] = database.execute("SELECT count(*) FROM exs")
            if starts:
                return False
    return True
