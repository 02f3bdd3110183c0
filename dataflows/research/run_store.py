"""The store of runs: backtests with their tables, settings and hashes, in the folder `runs` of the state folder.

The tables of a run are Parquet files in a folder of its own, everything else is a row of `index.sqlite`. A run exists
from the moment at which its row is committed, when its files are on the disk. A process that is killed before leaves a
folder without a row, which the next writer removes.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from schemas.errors import BadInput, Unavailable
from schemas.suggestions import did_you_mean

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_HOME = REPOSITORY / "var"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    name TEXT PRIMARY KEY, folder TEXT NOT NULL UNIQUE, created_ns INTEGER NOT NULL, strategies TEXT NOT NULL,
    decision_hash TEXT NOT NULL, summary TEXT NOT NULL, settings TEXT NOT NULL, warnings TEXT NOT NULL,
    sources TEXT NOT NULL
)
"""
_COLUMNS = ("name", "folder", "created_ns", "strategies", "decision_hash", "summary", "settings", "warnings", "sources")
_BUSY_S = 30.0


class RunSources(NamedTuple):
    """What a run was computed from.

    data           the files of bars, "frame" for a frame, or the recorded topics
    data_sha256    hash of the names and contents of all files of the run; "" for recorded topics
    code_sha256    hash of the platform's code that makes decisions
    source_sha256  hashes of the user's strategies, by their names in the settings
    orders         the file of orders; "" without one, and in runs of earlier releases
    """

    data: tuple[str, ...]
    data_sha256: str
    code_sha256: str
    source_sha256: dict[str, str]
    orders: str = ""


class StoredRun(NamedTuple):
    """A run in the store, without its tables. The fields are those of `Result`, with `created_ns` and the sources."""

    name: str
    folder: str
    created_ns: int
    strategies: tuple[str, ...]
    decision_hash: str
    summary: dict[str, Any]
    settings: dict[str, Any]
    warnings: list[str]
    sources: RunSources


def runs_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the store: in PLATFORM_HOME, or in `var/` of the repository."""
    return Path(environment.get("PLATFORM_HOME") or DEFAULT_HOME).resolve() / "runs"


class RunStore:
    """Stores runs in a folder, which is created when the first run is saved. Several processes can use it at once.

    Methods raise BadInput for an unknown, taken or malformed name, and Unavailable if the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index = folder / "index.sqlite"

    def require_new_name(self, name: str) -> None:
        """Raise BadInput if a new run cannot have this name. Call it before the run."""
        if not _NAME.fullmatch(name):
            raise BadInput(
                "a run must be named by up to 100 letters, digits, `_`, `-` and `.`, starting with a letter or digit; "
                f"found {name!r}"
            )
        taken = set(self.names())
        if name in taken:
            free = next(other for number in count(2) if (other := f"{name}-{number}") not in taken)
            raise BadInput(f"a run named {name!r} exists; choose another name, such as {free}, or remove the run first")

    def default_name(self, strategies: Sequence[str], created_ns: int) -> str:
        """Return a free name by strategy and time (UTC), such as `ema_cross-20240102-093000`."""
        time = datetime.fromtimestamp(created_ns // 10**9, UTC).strftime("%Y%m%d-%H%M%S")
        label = re.sub(r"[^A-Za-z0-9_.-]", "", strategies[0])[:60] if strategies else "orders"
        first, taken = f"{label or 'run'}-{time}", set(self.names())
        return first if first not in taken else next(n for i in count(2) if (n := f"{first}-{i}") not in taken)

    def save(self, run: StoredRun, tables: Mapping[str, Any]) -> None:
        """Store a run with its tables (`pyarrow.Table` by name). `run.folder` is chosen here.

        When this returns, the run is on the disk. A run whose name was taken meanwhile is not stored.
        """
        self.require_new_name(run.name)
        with self._errors(), self._writing():
            folder = self.folder / uuid4().hex
            folder.mkdir(mode=0o700)
            for name, table in tables.items():
                _write_table(table, folder / f"{name}.parquet")
            _sync(folder)
            _sync(self.folder)
            try:
                self._insert(run._replace(folder=folder.name))
            except sqlite3.IntegrityError:
                shutil.rmtree(folder, ignore_errors=True)
                self.require_new_name(run.name)
                raise

    def _insert(self, run: StoredRun) -> None:
        values = [value if isinstance(value, str | int) else json.dumps(value) for value in run]
        values[-1] = json.dumps(run.sources._asdict())
        marks = ", ".join("?" * len(_COLUMNS))
        with closing(self._connect()) as db, db:
            db.execute(f"INSERT INTO runs ({', '.join(_COLUMNS)}) VALUES ({marks})", values)  # noqa: S608 - constants

    def names(self) -> list[str]:
        """Return the names of all runs, the oldest first."""
        return [run.name for run in self.runs()]

    def runs(self) -> list[StoredRun]:
        """Return all runs, the oldest first."""
        if not self._index.exists():
            return []
        query = f"SELECT {', '.join(_COLUMNS)} FROM runs ORDER BY created_ns, name"  # noqa: S608 - constants
        with self._errors(), closing(self._connect()) as db:
            return [_run_of_row(row) for row in db.execute(query)]

    def run(self, name: str) -> StoredRun:
        """Return the run of a name. Raises BadInput with the nearest name for an unknown one."""
        runs = {run.name: run for run in self.runs()}
        if name not in runs:
            hint = did_you_mean(name, runs) or ("; `runs list` lists the runs" if runs else "; no run is stored")
            raise BadInput(f"unknown run {name!r}{hint}")
        return runs[name]

    def tables(self, run: StoredRun) -> dict[str, Any]:
        """Return the tables of a run by name."""
        from pyarrow import parquet

        with self._errors():
            files = sorted((self.folder / run.folder).iterdir())
            return {file.stem: parquet.read_table(file) for file in files}

    def remove(self, names: Sequence[str]) -> None:
        """Remove runs with their tables; none if a name is unknown."""
        folders = [self.folder / self.run(name).folder for name in names]
        with self._errors():
            with closing(self._connect()) as db, db:
                db.executemany("DELETE FROM runs WHERE name = ?", [(name,) for name in names])
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._index, timeout=_BUSY_S)
        db.execute("PRAGMA synchronous = FULL")
        return db

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Create the store, and remove what killed processes have left unless another process writes now."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(self._connect()) as db, db:
            db.execute(_SCHEMA)
        with (self.folder / "lock").open("a") as lock:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._remove_leftovers()
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def _remove_leftovers(self) -> None:
        stored = {run.folder for run in self.runs()}
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder.name not in stored:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Report an error of the disk or the index in one sentence."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(f"the store of runs {self.folder} cannot be used: {reason}") from error


def _run_of_row(row: tuple[Any, ...]) -> StoredRun:
    name, folder, created_ns, strategies, decision_hash, summary, settings, warnings, sources = row
    fields = json.loads(sources)
    return StoredRun(
        name=name,
        folder=folder,
        created_ns=created_ns,
        strategies=tuple(json.loads(strategies)),
        decision_hash=decision_hash,
        summary=json.loads(summary),
        settings=json.loads(settings),
        warnings=json.loads(warnings),
        sources=RunSources(**fields | {"data": tuple(fields["data"])}),
    )


def _write_table(table: Any, file: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(table, file, compression="zstd")
    _sync(file)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
